//! What the object store asks of the metadata engine: 32 requests at once, each of which commits
//! one batch of five rows and waits for it, and reads of one row.

use std::hint::black_box;
use std::sync::Arc;

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use futures::future::join_all;
use strongroom_environment::SeededEntropy;
use strongroom_meta::{Batch, Expected, MetaStore, RedbStore, Table};

const TABLES: [Table; 5] = [
    Table::new("objects"),
    Table::new("payloads"),
    Table::new("ledger"),
    Table::new("chains"),
    Table::new("age"),
];
const COMMITTERS: u64 = 32;
const BATCHES_EACH: u64 = 20;
const VALUE_LEN_BYTES: usize = 400;
const CACHE_BYTES: usize = 256 * 1024 * 1024;

/// A batch as a PUT makes it: a new row at a random place of each table.
fn batch(chance: &SeededEntropy) -> Batch {
    let key = [chance.next_u64().to_be_bytes(); 4].concat();
    let mut batch = Batch::new();
    batch.expect(TABLES[0], key.clone(), Expected::Absent);
    for table in TABLES {
        batch.put(table, key.clone(), vec![7; VALUE_LEN_BYTES]);
    }
    batch
}

fn commits(criterion: &mut Criterion) {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(2)
        .build()
        .expect("a runtime can be started");
    let directory = tempfile::tempdir().expect("a directory can be made");
    let path = directory.path().join("metadata");
    let store = RedbStore::open(&path, CACHE_BYTES).expect("a new store opens");
    let store = Arc::new(store);
    let chance = Arc::new(SeededEntropy::new(1));
    let mut group = criterion.benchmark_group("metadata");
    group.sample_size(20);
    for committers in [1, COMMITTERS] {
        group.throughput(Throughput::Elements(committers * BATCHES_EACH));
        group.bench_function(format!("commit 5 rows x{committers}"), |bencher| {
            bencher.iter(|| {
                runtime.block_on(async {
                    let each = (0..committers).map(|_| {
                        let (store, chance) = (Arc::clone(&store), Arc::clone(&chance));
                        tokio::spawn(async move {
                            for _ in 0..BATCHES_EACH {
                                store.commit(batch(&chance)).await.expect("it commits");
                            }
                        })
                    });
                    for done in join_all(each).await {
                        done.expect("a committer ends");
                    }
                });
            });
        });
    }
    let known = [SeededEntropy::new(1).next_u64().to_be_bytes(); 4].concat();
    group.throughput(Throughput::Elements(1));
    group.bench_function("get", |bencher| {
        bencher.iter(|| black_box(runtime.block_on(store.get(TABLES[0], &known))));
    });
    group.finish();
}

criterion_group!(benches, commits);
criterion_main!(benches);
