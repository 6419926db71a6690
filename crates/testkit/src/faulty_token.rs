//! A token that fails when it is told to.

use std::collections::{BTreeMap, VecDeque};
use std::sync::Arc;

use async_trait::async_trait;
use parking_lot::Mutex;
use strongroom_pkcs11::{
    CarriedKind, ExportedKeys, ImportWrapping, ImportedKey, KeyLabel, MacSpec, OaepHash, PairSpec,
    SealedBytes, SignatureScheme, Token, TokenError, TokenFunction, TokenIdentity, WrappedKey,
    WrappedPair,
};
use zeroize::Zeroizing;

/// Wraps a [`Token`] and answers chosen calls with chosen errors instead.
#[derive(Debug)]
pub struct FaultyToken {
    inner: Arc<dyn Token>,
    plan: Mutex<Plan>,
}

#[derive(Debug, Default)]
struct Plan {
    next: BTreeMap<TokenFunction, VecDeque<TokenError>>,
    always: BTreeMap<TokenFunction, TokenError>,
    down: Option<TokenError>,
    calls: BTreeMap<TokenFunction, u64>,
}

impl FaultyToken {
    /// A token that does as `inner` does, until told otherwise.
    #[must_use]
    pub fn new(inner: Arc<dyn Token>) -> Arc<Self> {
        Arc::new(Self {
            inner,
            plan: Mutex::default(),
        })
    }

    /// The next call of `function` not yet spoken for fails with `error`. May be said several
    /// times, for several calls.
    pub fn fail_next(&self, function: TokenFunction, error: TokenError) {
        self.plan
            .lock()
            .next
            .entry(function)
            .or_default()
            .push_back(error);
    }

    /// Every call of `function` fails with `error` until [`FaultyToken::heal`].
    pub fn fail_always(&self, function: TokenFunction, error: TokenError) {
        self.plan.lock().always.insert(function, error);
    }

    /// Every call of every function fails with `error` until [`FaultyToken::heal`].
    pub fn take_down(&self, error: TokenError) {
        self.plan.lock().down = Some(error);
    }

    /// Takes back every fault.
    pub fn heal(&self) {
        let mut plan = self.plan.lock();
        plan.next.clear();
        plan.always.clear();
        plan.down = None;
    }

    /// How often `function` was called, with or without a fault.
    #[must_use]
    pub fn calls(&self, function: TokenFunction) -> u64 {
        self.plan.lock().calls.get(&function).copied().unwrap_or(0)
    }

    fn pass(&self, function: TokenFunction) -> Result<&dyn Token, TokenError> {
        let mut plan = self.plan.lock();
        *plan.calls.entry(function).or_default() += 1;
        let fault = plan
            .next
            .get_mut(&function)
            .and_then(VecDeque::pop_front)
            .or_else(|| plan.always.get(&function).cloned())
            .or_else(|| plan.down.clone());
        match fault {
            Some(error) => Err(error),
            None => Ok(&*self.inner),
        }
    }
}

#[async_trait]
impl Token for FaultyToken {
    fn identity(&self) -> TokenIdentity {
        self.inner.identity()
    }

    async fn health(&self) -> Result<(), TokenError> {
        self.pass(TokenFunction::Health)?.health().await
    }

    async fn create_kek(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.pass(TokenFunction::CreateKek)?.create_kek(label).await
    }

    async fn create_mac_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.pass(TokenFunction::CreateMacKey)?
            .create_mac_key(label)
            .await
    }

    async fn create_signing_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        self.pass(TokenFunction::CreateSigningKey)?
            .create_signing_key(label)
            .await
    }

    async fn has_key(&self, label: &KeyLabel) -> Result<bool, TokenError> {
        self.pass(TokenFunction::HasKey)?.has_key(label).await
    }

    async fn public_key(&self, label: &KeyLabel) -> Result<[u8; 32], TokenError> {
        self.pass(TokenFunction::PublicKey)?.public_key(label).await
    }

    async fn generate_wrapped(&self, kek: &KeyLabel) -> Result<WrappedKey, TokenError> {
        self.pass(TokenFunction::GenerateWrapped)?
            .generate_wrapped(kek)
            .await
    }

    async fn seal(
        &self,
        key: &WrappedKey,
        context: &[u8],
        plaintext: &[u8],
    ) -> Result<SealedBytes, TokenError> {
        self.pass(TokenFunction::Seal)?
            .seal(key, context, plaintext)
            .await
    }

    async fn open(
        &self,
        key: &WrappedKey,
        context: &[u8],
        sealed: &SealedBytes,
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.pass(TokenFunction::Open)?
            .open(key, context, sealed)
            .await
    }

    async fn mac(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 32], TokenError> {
        self.pass(TokenFunction::Mac)?.mac(label, message).await
    }

    async fn sign(&self, label: &KeyLabel, message: &[u8]) -> Result<[u8; 64], TokenError> {
        self.pass(TokenFunction::Sign)?.sign(label, message).await
    }

    async fn generate_wrapped_mac_key(
        &self,
        kek: &KeyLabel,
        spec: MacSpec,
    ) -> Result<WrappedKey, TokenError> {
        self.pass(TokenFunction::GenerateWrappedMacKey)?
            .generate_wrapped_mac_key(kek, spec)
            .await
    }

    async fn mac_by(
        &self,
        key: &WrappedKey,
        spec: MacSpec,
        message: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.pass(TokenFunction::MacBy)?
            .mac_by(key, spec, message)
            .await
    }

    async fn generate_wrapped_pair(
        &self,
        kek: &KeyLabel,
        spec: PairSpec,
    ) -> Result<WrappedPair, TokenError> {
        self.pass(TokenFunction::GenerateWrappedPair)?
            .generate_wrapped_pair(kek, spec)
            .await
    }

    async fn sign_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        scheme: SignatureScheme,
        digest: &[u8],
    ) -> Result<Vec<u8>, TokenError> {
        self.pass(TokenFunction::SignBy)?
            .sign_by(key, spec, scheme, digest)
            .await
    }

    async fn decrypt_by(
        &self,
        key: &WrappedKey,
        spec: PairSpec,
        hash: OaepHash,
        ciphertext: &[u8],
    ) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.pass(TokenFunction::DecryptBy)?
            .decrypt_by(key, spec, hash, ciphertext)
            .await
    }

    async fn import_wrapped(
        &self,
        pair: &WrappedKey,
        spec: PairSpec,
        wrapping: ImportWrapping,
        material: &[u8],
    ) -> Result<ImportedKey, TokenError> {
        self.pass(TokenFunction::ImportWrapped)?
            .import_wrapped(pair, spec, wrapping, material)
            .await
    }

    async fn create_escrow_key(&self, label: &KeyLabel) -> Result<(), TokenError> {
        self.pass(TokenFunction::CreateEscrowKey)?
            .create_escrow_key(label)
            .await
    }

    async fn escrow_public_key(&self, label: &KeyLabel) -> Result<Vec<u8>, TokenError> {
        self.pass(TokenFunction::EscrowPublicKey)?
            .escrow_public_key(label)
            .await
    }

    async fn export_wrapped(
        &self,
        kek: &KeyLabel,
        keys: &[(CarriedKind, &WrappedKey)],
        recipient: &[u8],
    ) -> Result<ExportedKeys, TokenError> {
        self.pass(TokenFunction::ExportWrapped)?
            .export_wrapped(kek, keys, recipient)
            .await
    }

    async fn take_over(
        &self,
        escrow: &KeyLabel,
        exported: &ExportedKeys,
        kek: &KeyLabel,
    ) -> Result<Vec<WrappedKey>, TokenError> {
        self.pass(TokenFunction::TakeOver)?
            .take_over(escrow, exported, kek)
            .await
    }

    async fn random(&self, len_bytes: usize) -> Result<Zeroizing<Vec<u8>>, TokenError> {
        self.pass(TokenFunction::Random)?.random(len_bytes).await
    }
}

#[cfg(test)]
mod tests {
    use strongroom_pkcs11::MemoryToken;

    use super::*;

    #[tokio::test]
    async fn it_fails_as_told_and_then_no_more() {
        let token = FaultyToken::new(Arc::new(MemoryToken::new()));
        let gone = TokenError::Unavailable {
            reason: "unplugged".into(),
        };
        token.fail_next(TokenFunction::Random, gone.clone());
        assert!(token.random(8).await.is_err());
        assert!(token.random(8).await.is_ok());
        token.fail_always(TokenFunction::Random, gone.clone());
        assert!(token.random(8).await.is_err() && token.random(8).await.is_err());
        assert!(token.health().await.is_ok());
        token.take_down(gone);
        assert!(token.health().await.is_err());
        token.heal();
        assert!(token.health().await.is_ok() && token.random(8).await.is_ok());
        assert_eq!(token.calls(TokenFunction::Random), 5);
    }
}
