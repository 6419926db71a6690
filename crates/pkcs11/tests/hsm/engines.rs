//! One suite that every engine of the token seam passes.

use std::sync::Arc;

use strongroom_pkcs11::MemoryToken;
use strongroom_testkit::{SoftHsm, token_suite};

#[tokio::test(flavor = "multi_thread")]
async fn softhsm_keeps_the_contract() {
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    token_suite::run(token).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn memory_keeps_the_contract() {
    token_suite::run(Arc::new(MemoryToken::new())).await;
}
