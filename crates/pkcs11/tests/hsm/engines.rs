//! One suite that every engine of the token seam passes.

use std::sync::Arc;

use strongroom_pkcs11::{HsmToken, KeyLabel, MemoryToken, Token};
use strongroom_testkit::{Act, FaultyHsm, Rule, SoftHsm, token_suite};

const DEVICE_ERROR: u64 = 0x30;

#[tokio::test(flavor = "multi_thread")]
async fn softhsm_keeps_the_contract() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    token_suite::run(token).await;
}

/// A token that answers a changed wrapped key with `CKR_DEVICE_ERROR` is found out at the start, and
/// then keeps the contract as well.
#[tokio::test(flavor = "multi_thread")]
async fn a_token_that_seems_to_break_down_over_a_changed_key_keeps_the_contract() {
    let hsm = FaultyHsm::new().await;
    hsm.always("C_UnwrapKey", Act::FailWith(DEVICE_ERROR));
    let token = HsmToken::start(hsm.config()).await.expect("it starts");
    assert_eq!(token.identity().profile, "kw+gcm, unwrapping doubted");
    let pid = token.pid();
    token_suite::run(Arc::clone(&token) as _).await;
    assert_eq!(token.pid(), pid, "no process was replaced");
    // A device that is really lost is so for the canary too.
    hsm.faults().set(&[Rule {
        times: 2,
        ..Rule::once("C_UnwrapKey", Act::Answer(DEVICE_ERROR))
    }]);
    let key = token.generate_wrapped(&KeyLabel("kek".into())).await;
    token
        .seal(&key.expect("a key"), b"context", b"secret")
        .await
        .expect("sealed");
    assert_ne!(token.pid(), pid);
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    token_suite::run(Arc::new(MemoryToken::new())).await;
}
