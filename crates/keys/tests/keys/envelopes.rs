//! No envelope opens that is not whole and in its place.

use proptest::prelude::*;
use strongroom_keys::{KeyEnvelope, KeyError, ObjectName, Protection};
use tokio::runtime::Runtime;

use crate::world::{World, by_customer_key, by_kms_key, caller, context, customer_key, object};

struct Sample {
    name: ObjectName,
    envelope: KeyEnvelope,
    is_customers: bool,
}

struct Fixture {
    runtime: Runtime,
    world: World,
    samples: Vec<Sample>,
}

/// Objects in every mode, two of each.
fn fixture() -> Fixture {
    let runtime = Runtime::new().expect("a runtime");
    let (world, samples) = runtime.block_on(async {
        let world = World::new().await;
        let kms_key = world.kms_key().await;
        let mut samples = Vec::new();
        for number in 0..2 {
            for protection in [
                by_customer_key(1),
                by_kms_key(&kms_key, false),
                by_kms_key(&kms_key, true),
                Protection::Kms {
                    key: kms_key.id.into(),
                    context: context(&[("a", "b")]),
                    bucket_key: number == 0,
                },
                Protection::Managed,
            ] {
                let name = object("bucket", &format!("key-{number}"));
                let is_customers = matches!(protection, Protection::CustomerKey(_));
                let (_, envelope) = world
                    .service
                    .objects
                    .create(&protection, &name, &caller())
                    .await
                    .expect("a data key");
                samples.push(Sample {
                    name,
                    envelope,
                    is_customers,
                });
            }
        }
        (world, samples)
    });
    Fixture {
        runtime,
        world,
        samples,
    }
}

impl Fixture {
    fn open(&self, bytes: &[u8], name: &ObjectName, is_customers: bool) -> Result<(), KeyError> {
        let envelope = KeyEnvelope::from_bytes(bytes)?;
        let customer_key = is_customers.then(|| customer_key(1));
        self.runtime.block_on(async {
            self.world
                .service
                .objects
                .open(&envelope, name, customer_key.as_ref(), &caller())
                .await
                .map(drop)
        })
    }
}

#[test]
fn no_flipped_bit_and_no_lost_or_added_byte_goes_unseen() {
    let fixture = fixture();
    for sample in &fixture.samples[..5] {
        let whole = sample.envelope.to_bytes();
        fixture
            .open(&whole, &sample.name, sample.is_customers)
            .expect("the whole one opens");
        for bit in 0..whole.len() * 8 {
            let mut bytes = whole.clone();
            bytes[bit / 8] ^= 1 << (bit % 8);
            let error = fixture
                .open(&bytes, &sample.name, sample.is_customers)
                .expect_err("it was changed");
            // Damage is not blamed on the customer, whose key is right. Only the byte that says
            // which mode it is can make it look like an object that needs no key, or another one.
            let is_blamed = matches!(
                error,
                KeyError::CustomerKeyMismatch
                    | KeyError::CustomerKeyRequired
                    | KeyError::CustomerKeyNotApplicable
            );
            assert!(!is_blamed || bit / 8 == 1, "bit {bit}: {error:?}");
        }
        for len_bytes in 0..whole.len() {
            fixture
                .open(&whole[..len_bytes], &sample.name, sample.is_customers)
                .expect_err("it was cut");
        }
        let longer = [whole.as_slice(), &[0]].concat();
        fixture
            .open(&longer, &sample.name, sample.is_customers)
            .expect_err("it was made longer");
    }
}

#[test]
fn a_look_by_the_right_key_at_a_damaged_envelope_is_refused_and_not_blamed_on_the_key() {
    let fixture = fixture();
    let sample = &fixture.samples[0];
    let whole = sample.envelope.to_bytes();
    let keys = &fixture.world.service.objects;
    // Version and mode; then salt, check value and fingerprint. The wrap is not looked at.
    for at in 2..98 {
        let mut bytes = whole.clone();
        bytes[at] ^= 1;
        let envelope = KeyEnvelope::from_bytes(&bytes).expect("it is well-formed");
        let (with, who) = (customer_key(1), caller());
        let checked = keys.check(&envelope, &sample.name, Some(&with), &who);
        let checked = fixture.runtime.block_on(checked);
        let is_refused = matches!(checked, Err(KeyError::NotAuthentic));
        assert!(is_refused, "{at}: {checked:?}");
    }
}

#[test]
fn no_envelope_opens_in_the_place_of_another() {
    let fixture = fixture();
    for (at, sample) in fixture.samples.iter().enumerate() {
        for (other_at, other) in fixture.samples.iter().enumerate() {
            let result = fixture.open(
                &sample.envelope.to_bytes(),
                &other.name,
                sample.is_customers,
            );
            assert_eq!(result.is_ok(), at == other_at, "{at} for {other_at}");
        }
        let ObjectName {
            bucket,
            key,
            binding,
        } = &sample.name;
        for (bucket, key) in [
            ("another", key.as_str()),
            (bucket, "another"),
            ("bucketk", "ey-0"),
            ("bucke", "tkey-0"),
        ] {
            let name = ObjectName {
                bucket: bucket.into(),
                key: key.into(),
                binding: *binding,
            };
            let result = fixture.open(&sample.envelope.to_bytes(), &name, sample.is_customers);
            let error = result.expect_err("it is another object's");
            assert!(matches!(error, KeyError::NotAuthentic), "{error:?}");
        }
    }
}

#[test]
fn arbitrary_changes_and_mixtures_do_not_open() {
    let fixture = fixture();
    let strategy = (
        0..fixture.samples.len(),
        0..fixture.samples.len(),
        any::<prop::sample::Index>(),
        any::<prop::sample::Index>(),
        proptest::collection::vec(any::<u8>(), 0..24),
    );
    let config = ProptestConfig::with_cases(1_024);
    let mut runner = proptest::test_runner::TestRunner::new(config);
    runner
        .run(&strategy, |(first, second, from, to, patch)| {
            let (first, second) = (&fixture.samples[first], &fixture.samples[second]);
            let whole = first.envelope.to_bytes();
            let other = second.envelope.to_bytes();
            // A stretch of another envelope, then arbitrary bytes, over this one.
            let (from, to) = (from.index(whole.len()), to.index(whole.len()));
            let mut bytes = whole.clone();
            let end = from.max(to).min(other.len());
            let stretch = from.min(to).min(end)..end;
            bytes[stretch.clone()].copy_from_slice(&other[stretch]);
            for (byte, patch) in bytes[from..].iter_mut().zip(&patch) {
                *byte = *patch;
            }
            let result = fixture.open(&bytes, &first.name, first.is_customers);
            prop_assert_eq!(result.is_ok(), bytes == whole);
            Ok(())
        })
        .expect("no mixture opens");
}

#[test]
fn a_context_that_the_caller_did_not_give_is_not_believed() {
    let fixture = fixture();
    let sample = &fixture.samples[1];
    let whole = sample.envelope.to_bytes();
    // Version, mode, and the length of an empty context stand before the ciphertext.
    assert_eq!(whole[..4], [1, 2, 0, 0]);
    let ObjectName {
        bucket,
        key,
        binding,
    } = &sample.name;
    for (name, value) in [
        // What the service itself adds, with its own value and with another.
        ("aws:s3:arn", format!("arn:aws:s3:::{bucket}/{key}")),
        ("aws:s3:arn", "another".into()),
        ("strongroom:object", format!("{bucket}/{key}")),
        ("strongroom:object", "another".into()),
        ("strongroom:binding", binding.to_string()),
        ("strongroom:binding", "another".into()),
        ("strongroom:arn", "given".into()),
        ("department", "9".into()),
        ("", String::new()),
    ] {
        let mut pairs = Vec::new();
        for text in [name, &value] {
            pairs.extend(u16::try_from(text.len()).expect("short").to_be_bytes());
            pairs.extend(text.as_bytes());
        }
        let len_bytes = u16::try_from(pairs.len()).expect("short").to_be_bytes();
        let bytes = [&[1, 2], &len_bytes[..], &pairs, &whole[4..]].concat();
        let opened = fixture.open(&bytes, &sample.name, false);
        assert!(
            matches!(opened, Err(KeyError::NotAuthentic)),
            "{name}: {opened:?}"
        );
    }
}

#[test]
fn what_the_caller_says_of_the_place_is_kept_and_told_from_what_the_service_says() {
    let fixture = fixture();
    let name = object("bucket", "key");
    let protection = Protection::Kms {
        key: strongroom_keys::KeyReference::managed(),
        context: context(&[("aws:s3:arn", "arn:aws:s3:::bucket/key")]),
        bucket_key: false,
    };
    let keys = &fixture.world.service.objects;
    let created = fixture
        .runtime
        .block_on(keys.create(&protection, &name, &caller()));
    let whole = created.expect("a data key").1.to_bytes();
    fixture
        .open(&whole, &name, false)
        .expect("the whole one opens");
    let len_bytes = usize::from(whole[3]);
    let without = [&[1, 2, 0, 0], &whole[4 + len_bytes..]].concat();
    let opened = fixture.open(&without, &name, false);
    assert!(matches!(opened, Err(KeyError::NotAuthentic)), "{opened:?}");
}

proptest! {
    #[test]
    fn arbitrary_bytes_are_no_envelope_or_come_back_as_they_were(mut bytes: Vec<u8>, mode in 0_u8..6) {
        for (byte, value) in bytes.iter_mut().zip([1, mode]) {
            *byte = value;
        }
        if let Ok(envelope) = KeyEnvelope::from_bytes(&bytes) {
            prop_assert_eq!(envelope.to_bytes(), bytes);
        }
    }
}
