//! The rows are what the format's page says, and nothing else is taken for them.

use proptest::prelude::*;

use super::*;

const PAGE: &str = include_str!("../../../docs/format/lifecycle.md");

/// The bytes of the hexadecimal example of the page that begins with `title`.
fn example(title: &str) -> Vec<u8> {
    let (_, after) = PAGE
        .split_once(&format!("```hex\n{title}\n"))
        .unwrap_or_else(|| panic!("the page has no example {title:?}"));
    let (hex, _) = after.split_once("```").expect("the example ends");
    let digits: String = hex.split_whitespace().collect();
    data_encoding::HEXLOWER
        .decode(digits.as_bytes())
        .expect("the example is hexadecimal")
}

fn job() -> Job {
    Job {
        name: VersionName {
            bucket: BucketName::new("photos").expect("it is a name"),
            key: ObjectKey::new("k").expect("it is a key"),
            version: VersionId::new(7, [1; 16]),
        },
        class: StorageClass::Glacier,
        payload: PayloadId([3; 16]),
        archive: ArchiveId([2; 16]),
        origin: JobOrigin::Rule("old".to_owned()),
        created: Timestamp::from_seconds(1),
        due: Timestamp::from_seconds(1),
        failures: 0,
        last_error: None,
    }
}

#[test]
fn the_worked_example_is_read_and_written() {
    let (key, value) = (example("key"), example("value"));
    assert_eq!(job().key(), key);
    assert_eq!(job().row(), value);
    assert_eq!(Job::read(&key, &value).expect("it is a job"), job());
}

#[test]
fn the_worked_manifest_is_read_and_written() {
    let (_, after) = PAGE.split_once("```json\n").expect("there is a manifest");
    let (json, _) = after.split_once("```").expect("the example ends");
    let (archive, description) =
        crate::cold::ArchiveDescription::from_manifest(json.as_bytes()).expect("it is a manifest");
    assert_eq!(archive, ArchiveId([2; 16]));
    assert_eq!(description.len_bytes(), 3);
    assert_eq!(
        String::from_utf8(description.to_manifest(archive)).expect("it is text"),
        json
    );
}

#[test]
fn damaged_rows_are_refused_without_panic() {
    let (key, value) = (job().key(), job().row());
    for len in 0..value.len() {
        assert!(Job::read(&key, &value[..len]).is_err(), "{len} bytes");
    }
    for len in 0..key.len() {
        assert!(Job::read(&key[..len], &value).is_err(), "{len} bytes");
    }
    let mut later = value.clone();
    later[0] = 2;
    assert!(Job::read(&key, &later).is_err());
    let mut longer = value;
    longer.push(0);
    assert!(Job::read(&key, &longer).is_err());
}

proptest! {
    #[test]
    fn jobs_are_read_back_and_ordered_by_when_they_are_due(
        key in "[\\x00-\\x02a-z/é]{1,9}",
        class in proptest::sample::select(StorageClass::ALL.to_vec()),
        one in any::<i64>(),
        other in any::<i64>(),
        failures: u32,
        error in proptest::option::of(".{0,9}"),
    ) {
        let mut job = job();
        job.name.key = ObjectKey::new(key).expect("it is a key");
        job.class = class;
        job.due = Timestamp::from_micros(one);
        job.failures = failures;
        job.last_error = error;
        prop_assert_eq!(&Job::read(&job.key(), &job.row()).expect("it is a job"), &job);
        let key = job.key();
        prop_assert_eq!(
            due_key(Timestamp::from_micros(one), &key).cmp(&due_key(Timestamp::from_micros(other), &key)),
            one.cmp(&other)
        );
    }
}
