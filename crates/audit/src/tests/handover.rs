//! A log whose key is lost goes on under another.

use std::sync::Arc;

use super::*;
use crate::{Checkpoint, HandOverError, OpenError, VerifierKey, hand_over, verify_consistency};

fn config(dir: &Path) -> LogConfig {
    LogConfig::new(dir, Origin::new("example.com/log").expect("an origin"))
}

async fn with_entries(
    dir: &Path,
    signer: &Arc<TestSigner>,
    entries: usize,
) -> (VerifierKey, Checkpoint) {
    let log = Log::open(config(dir), Arc::clone(signer) as _).expect("it opens");
    for number in 0..entries {
        let appended = log.append(format!("entry {number}").into_bytes()).await;
        appended.expect("it is written");
    }
    let checkpoint = log.publish().await.expect("it is published");
    let key = VerifierKey::parse(&log.verifier_key()).expect("a key");
    (key, checkpoint)
}

#[tokio::test]
async fn it_goes_on_where_it_was_and_both_keys_say_so() {
    let dir = tempfile::tempdir().expect("a directory");
    let (former, new) = (TestSigner::from_seed(1), TestSigner::from_seed(2));
    let (key, last) = with_entries(dir.path(), &former, 300).await;
    let handed = hand_over(dir.path(), &key, &*new)
        .await
        .expect("handed over");
    let new_key = VerifierKey::parse(&handed.verifier_key).expect("a key");
    let both = handed.checkpoint.as_ref().expect("a checkpoint");
    for key in [&key, &new_key] {
        let signed = Checkpoint::verify(both, key).expect("signed by both");
        assert_eq!((signed.size(), signed.root()), (300, last.root()));
    }
    // Once more changes nothing.
    let again = hand_over(dir.path(), &key, &*new).await.expect("it was");
    assert_eq!(again, handed);

    let log = Log::open(config(dir.path()), Arc::clone(&new) as _).expect("it opens");
    log.append(b"after".to_vec()).await.expect("it is written");
    let later = log.publish().await.expect("it is published");
    assert_eq!(later.size(), 301);
    assert!(Checkpoint::verify(later.text(), &key).is_err());
    let proof = log.consistency_proof(300, 301).expect("a proof");
    verify_consistency(&proof, (300, last.root()), (301, later.root()))
        .expect("it extends the former");
    drop(log);
    let later = hand_over(dir.path(), &key, &*new).await.expect("it was");
    assert_eq!(later.checkpoint, None, "it has gone on");
    assert_eq!(later.verifier_key, handed.verifier_key);
}

#[tokio::test]
async fn only_a_log_of_the_former_key_that_nobody_has_open_is_handed_over() {
    let dir = tempfile::tempdir().expect("a directory");
    let (former, new) = (TestSigner::from_seed(1), TestSigner::from_seed(2));
    let (key, last) = with_entries(dir.path(), &former, 3).await;
    let unchanged = || {
        let kept = std::fs::read_to_string(dir.path().join("checkpoint")).expect("a file");
        assert_eq!(kept, last.text());
    };

    let log = Log::open(config(dir.path()), Arc::clone(&former) as _).expect("it opens");
    let open = hand_over(dir.path(), &key, &*new).await;
    assert!(matches!(
        open,
        Err(HandOverError::Open(OpenError::Locked { .. }))
    ));
    drop(log);
    let other = TestSigner::from_seed(3).public_key();
    let other = VerifierKey::new(key.origin().clone(), &other).expect("a key");
    let wrong = hand_over(dir.path(), &other, &*new).await;
    assert!(matches!(
        wrong,
        Err(HandOverError::Open(OpenError::Checkpoint(_)))
    ));
    unchanged();
    new.refuses.store(true, Ordering::Relaxed);
    let refused = hand_over(dir.path(), &key, &*new).await;
    assert!(matches!(refused, Err(HandOverError::Sign(_))));
    new.refuses.store(false, Ordering::Relaxed);
    new.lies.store(true, Ordering::Relaxed);
    let lied = hand_over(dir.path(), &key, &*new).await;
    assert!(matches!(lied, Err(HandOverError::Sign(_))));
    unchanged();

    let empty = tempfile::tempdir().expect("a directory");
    let none = hand_over(empty.path(), &key, &*new).await;
    assert!(matches!(
        none,
        Err(HandOverError::Open(OpenError::NoCheckpoint))
    ));
}
