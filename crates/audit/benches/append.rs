//! Appends per second, by one task and by eight, without and with synchronous durability.

use std::hint::black_box;
use std::sync::Arc;
use std::time::Duration;

use async_trait::async_trait;
use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use ed25519_dalek::{Signer as _, SigningKey};
use strongroom_audit::{AuditLog, CheckpointSigner, Durability, Log, LogConfig, Origin, SignError};

#[derive(Debug)]
struct SoftwareSigner(SigningKey);

#[async_trait]
impl CheckpointSigner for SoftwareSigner {
    fn public_key(&self) -> [u8; 32] {
        self.0.verifying_key().to_bytes()
    }

    async fn sign(&self, message: &[u8]) -> Result<[u8; 64], SignError> {
        Ok(self.0.sign(message).to_bytes())
    }
}

/// About the length of a key-use event.
const ENTRY_LEN_BYTES: usize = 400;

fn appends(c: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .enable_all()
        .build()
        .expect("the runtime starts");
    let mut group = c.benchmark_group("append");
    group
        .sample_size(10)
        .measurement_time(Duration::from_secs(3));
    for (name, durability, per_task) in [
        ("process", Durability::Process, 2_000_u64),
        ("sync", Durability::Sync, 100),
    ] {
        for tasks in [1, 8] {
            let dir = tempfile::tempdir().expect("a temporary directory");
            let origin = Origin::new("bench.example/audit").expect("a valid origin");
            let mut config = LogConfig::new(dir.path(), origin);
            config.durability = durability;
            let signer = Arc::new(SoftwareSigner(SigningKey::from_bytes(&[1; 32])));
            let log = Log::open(config, signer).expect("the log opens");
            group.throughput(Throughput::Elements(tasks * per_task));
            group.bench_function(format!("{name}, {tasks} tasks"), |b| {
                b.iter(|| {
                    runtime.block_on(async {
                        let running: Vec<_> = (0..tasks)
                            .map(|_| {
                                let log = log.clone();
                                tokio::spawn(async move {
                                    for _ in 0..per_task {
                                        let entry = vec![b'x'; ENTRY_LEN_BYTES];
                                        black_box(log.append(entry).await.expect("it is written"));
                                    }
                                })
                            })
                            .collect();
                        for task in running {
                            task.await.expect("the task ends");
                        }
                    });
                });
            });
            runtime
                .block_on(log.publish())
                .expect("the checkpoint is published");
        }
    }
    group.finish();
}

criterion_group!(benches, appends);
criterion_main!(benches);
