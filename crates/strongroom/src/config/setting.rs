//! Every setting there is: one table from which the file, the environment, the checks and the
//! printed reference are all read.

/// What a setting's value must look like.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Text, not empty.
    Text,
    /// A path; a relative one is taken from the directory of the configuration file.
    Path,
    /// `HOST:PORT`, where the host is an address.
    Address,
    /// `true` or `false`.
    Switch,
    /// A whole number within bounds, both included.
    Number(u64, u64),
    /// One of these words.
    Word(&'static [&'static str]),
    /// A list of texts.
    List,
}

/// One setting.
#[derive(Debug)]
pub(crate) struct Setting {
    /// Its name in the file: `table.key`, or `key` at the top.
    pub(crate) name: &'static str,
    /// What its value must look like.
    pub(crate) kind: Kind,
    /// Its value when nothing is said; `None` when it may be absent.
    pub(crate) default: Option<&'static str>,
    /// Whether the daemon cannot start without it.
    pub(crate) required: bool,
    /// A setting that stands in its place: with that one it is not required.
    pub(crate) unless: Option<&'static str>,
    /// What it does, in a sentence.
    pub(crate) meaning: &'static str,
}

impl Setting {
    /// The environment variable that overrides it: `s3.listen` is `STRONGROOM_S3_LISTEN`.
    pub(crate) fn variable(&self) -> String {
        format!("STRONGROOM_{}", self.name.replace('.', "_").to_uppercase())
    }
}

const fn setting(
    name: &'static str,
    kind: Kind,
    default: Option<&'static str>,
    meaning: &'static str,
) -> Setting {
    Setting {
        name,
        kind,
        default,
        required: false,
        unless: None,
        meaning,
    }
}

const fn required(name: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting {
        name,
        kind,
        default: None,
        required: true,
        unless: None,
        meaning,
    }
}

/// The setting that says that the keys are with a key daemon.
pub(crate) const CUSTODY: &str = "custody.urls";

/// A setting of the token, which a store whose keys are with a key daemon does not have.
const fn of_token(name: &'static str, kind: Kind, meaning: &'static str) -> Setting {
    Setting {
        unless: Some(CUSTODY),
        ..required(name, kind, meaning)
    }
}

/// All settings, in the order in which the reference prints them.
pub(crate) const SETTINGS: &[Setting] = &[
    required(
        "data_dir",
        Kind::Path,
        "Where metadata, sealed objects and the audit log are kept.",
    ),
    setting(
        "region",
        Kind::Text,
        Some("us-east-1"),
        "The region that requests are signed for and that stands in ARNs.",
    ),
    setting(
        "account",
        Kind::Text,
        Some("000000000000"),
        "The twelve-digit account that stands in ARNs.",
    ),
    setting(
        "s3.listen",
        Kind::Address,
        Some("127.0.0.1:9000"),
        "Where the S3 endpoint listens.",
    ),
    setting(
        "s3.domain",
        Kind::Text,
        None,
        "The base domain of virtual-hosted requests: BUCKET.DOMAIN. Path-style always works.",
    ),
    setting(
        "s3.tls_certificate",
        Kind::Path,
        None,
        "PEM certificate chain of the S3 endpoint; with it the endpoint speaks TLS only.",
    ),
    setting(
        "s3.tls_private_key",
        Kind::Path,
        None,
        "PEM private key of the S3 endpoint.",
    ),
    setting(
        "s3.allow_plain_http_customer_keys",
        Kind::Switch,
        Some("false"),
        "Accept customer keys over plain HTTP. Only for a loopback address or behind a TLS proxy on the same host.",
    ),
    setting(
        "s3.block_customer_keys_on_new_buckets",
        Kind::Switch,
        Some("true"),
        "Whether a new bucket refuses customer keys (SSE-C) until PutBucketEncryption lets them in, as on AWS since April 2026.",
    ),
    setting(
        "api.listen",
        Kind::Address,
        Some("127.0.0.1:9100"),
        "Where the HTTP API and the KMS protocol listen.",
    ),
    setting(
        "api.tls_certificate",
        Kind::Path,
        None,
        "PEM certificate chain of the API endpoint; with it the endpoint speaks TLS only.",
    ),
    setting(
        "api.tls_private_key",
        Kind::Path,
        None,
        "PEM private key of the API endpoint.",
    ),
    required(
        "api.admin_token_file",
        Kind::Path,
        "A file with the administrator's bearer token, at least 32 characters; it must be readable by its owner only.",
    ),
    of_token(
        "token.module",
        Kind::Path,
        "The PKCS#11 module of the token.",
    ),
    of_token("token.label", Kind::Text, "The label of the token to use."),
    of_token(
        "token.pin_file",
        Kind::Path,
        "A file with the user PIN; it must be readable by its owner only.",
    ),
    setting(
        "token.environment",
        Kind::List,
        None,
        "Environment of the module's process, each NAME=VALUE, such as SOFTHSM2_CONF=/etc/strongroom/softhsm2.conf.",
    ),
    setting(
        "token.call_timeout_s",
        Kind::Number(1, 600),
        Some("10"),
        "How long one call to the token may take, in seconds, before its process is killed and started again.",
    ),
    setting(
        "token.check_answers",
        Kind::Switch,
        Some("true"),
        "Whether what a token seals, opens or authenticates is done twice and compared, so that wrong bytes of a faulty module are found out, at about twice the work of the token.",
    ),
    setting(
        "second_token.module",
        Kind::Path,
        None,
        "The PKCS#11 module of a second token, which holds the same keys and serves when the first does not. `strongroom hsm pair` makes the keys.",
    ),
    setting(
        "second_token.label",
        Kind::Text,
        None,
        "The label of the second token.",
    ),
    setting(
        "second_token.pin_file",
        Kind::Path,
        None,
        "A file with the user PIN of the second token; it must be readable by its owner only.",
    ),
    setting(
        "second_token.environment",
        Kind::List,
        None,
        "Environment of the process of the second token's module, each NAME=VALUE.",
    ),
    setting(
        CUSTODY,
        Kind::List,
        None,
        "The link of the key daemon that has custody of the keys, such as https://keyd.example:9101; several addresses are tried in turn. With it there is no token here.",
    ),
    setting(
        "custody.tls_ca",
        Kind::Path,
        None,
        "PEM certificate of the authority that issued the key daemon's certificate. No other is trusted.",
    ),
    setting(
        "custody.tls_certificate",
        Kind::Path,
        None,
        "PEM certificate chain of this store, by which the key daemon knows it.",
    ),
    setting(
        "custody.tls_private_key",
        Kind::Path,
        None,
        "PEM private key of this store; it must be readable by its owner only.",
    ),
    setting(
        "custody.call_timeout_ms",
        Kind::Number(50, 60_000),
        Some("2000"),
        "How long one question to the key daemon may take, in milliseconds, before it is asked again, at the next address if need be.",
    ),
    setting(
        "custody.silence_ms_max",
        Kind::Number(200, 3_600_000),
        Some("10000"),
        "For how long opened keys may be used without news of the key daemon, in milliseconds. A key that is disabled is out of use everywhere within this time.",
    ),
    setting(
        "custody.decision_ms_max",
        Kind::Number(0, 3_600_000),
        Some("5000"),
        "For how long a permission that the key daemon gave, and what an alias names, is remembered, in milliseconds.",
    ),
    setting(
        "link.listen",
        Kind::Address,
        None,
        "Where stores on other hosts reach the keys of this daemon. Without it there is no link.",
    ),
    setting(
        "link.tls_certificate",
        Kind::Path,
        None,
        "PEM certificate chain of the link.",
    ),
    setting(
        "link.tls_private_key",
        Kind::Path,
        None,
        "PEM private key of the link.",
    ),
    setting(
        "link.tls_client_ca",
        Kind::Path,
        None,
        "PEM certificate of the authority that issues the certificates of stores. Nobody else can connect.",
    ),
    setting(
        "link.stores",
        Kind::List,
        None,
        "The stores that may use keys, each by a DNS name in its certificate. What a store has sealed opens for that name only, so it must never change.",
    ),
    setting(
        "audit.origin",
        Kind::Text,
        Some("strongroom.local/audit"),
        "The name of the audit log, as it stands in its checkpoints. It must never change.",
    ),
    setting(
        "audit.durability",
        Kind::Word(&["process", "sync"]),
        Some("process"),
        "What an audit record survives before the key's result leaves: the death of the process, or of the machine.",
    ),
    setting(
        "audit.publish_interval_ms",
        Kind::Number(10, 60_000),
        Some("1000"),
        "How long a record may wait for a signed checkpoint over it, in milliseconds.",
    ),
    setting(
        "keys.bucket_key_age_s_max",
        Kind::Number(1, 3_600),
        Some("300"),
        "How long a bucket key may stay in memory, in seconds.",
    ),
    setting(
        "keys.bucket_key_uses_max",
        Kind::Number(1, 4_294_967_296),
        Some("1000000"),
        "How many data keys one bucket key may wrap.",
    ),
    setting(
        "escrow.public_key_file",
        Kind::Path,
        None,
        "The public key that backups of keys are wrapped for, as `strongroom hsm escrow-key` writes it. Without it there are none.",
    ),
    setting(
        "metadata.cache_bytes",
        Kind::Number(1_048_576, 1_099_511_627_776),
        Some("67108864"),
        "Memory for cached metadata pages, in bytes.",
    ),
    setting(
        "cold.directory",
        Kind::Path,
        None,
        "The directory of the cold tier: a tape stage, another disk, a mounted share. The default is cold/ in the data directory.",
    ),
    setting(
        "log.level",
        Kind::Text,
        Some("info"),
        "What is logged: error, warn, info or debug, or a filter such as strongroom_store=debug.",
    ),
    setting(
        "log.format",
        Kind::Word(&["text", "json"]),
        Some("text"),
        "How log lines look.",
    ),
];
