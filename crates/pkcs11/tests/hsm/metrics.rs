//! What is counted.

use std::collections::BTreeMap;
use std::sync::Arc;

use metrics::{
    Counter, CounterFn, Gauge, Histogram, Key, KeyName, Metadata, Recorder, SharedString, Unit,
};
use parking_lot::Mutex;
use rustix::process::{Pid, Signal, kill_process};
use strongroom_pkcs11::{KeyLabel, Token};
use strongroom_testkit::SoftHsm;

#[derive(Clone, Default)]
struct Counts(Arc<Mutex<BTreeMap<String, u64>>>);

struct Count {
    counts: Counts,
    name: String,
}

impl CounterFn for Count {
    fn increment(&self, value: u64) {
        *self.counts.0.lock().entry(self.name.clone()).or_default() += value;
    }

    fn absolute(&self, value: u64) {
        self.counts.0.lock().insert(self.name.clone(), value);
    }
}

impl Recorder for Counts {
    fn describe_counter(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_gauge(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}
    fn describe_histogram(&self, _: KeyName, _: Option<Unit>, _: SharedString) {}

    fn register_counter(&self, key: &Key, _: &Metadata<'_>) -> Counter {
        let mut name = key.name().to_owned();
        for label in key.labels() {
            name.push_str(&format!(" {}={}", label.key(), label.value()));
        }
        Counter::from_arc(Arc::new(Count {
            counts: self.clone(),
            name,
        }))
    }

    fn register_gauge(&self, _: &Key, _: &Metadata<'_>) -> Gauge {
        Gauge::noop()
    }

    fn register_histogram(&self, _: &Key, _: &Metadata<'_>) -> Histogram {
        Histogram::noop()
    }
}

/// On one thread, since the recorder is the thread's.
#[tokio::test]
async fn every_call_and_every_restart_is_counted() {
    let counts = Counts::default();
    let _recording = metrics::set_default_local_recorder(&counts);
    let hsm = SoftHsm::new().await;
    let token = hsm.start().await.expect("it starts");
    let mac = KeyLabel("mac".into());
    token.create_mac_key(&mac).await.expect("made");
    for _ in 0..3 {
        token.mac(&mac, b"message").await.expect("a MAC");
    }
    token
        .mac(&KeyLabel("nobody's".into()), b"message")
        .await
        .expect_err("a refused call is a call");
    let count = |name: &str| counts.0.lock().get(name).copied().unwrap_or(0);
    assert_eq!(count("strongroom_hsm_calls_total function=mac"), 4);
    assert_eq!(
        count("strongroom_hsm_calls_total function=create_mac_key"),
        1
    );
    assert_eq!(count("strongroom_hsm_restarts_total"), 0);

    let pid = token.pid().and_then(|pid| i32::try_from(pid).ok());
    kill_process(
        pid.and_then(Pid::from_raw).expect("a process"),
        Signal::KILL,
    )
    .expect("killed");
    // A call that is answered before the death is noticed is not made again.
    while count("strongroom_hsm_restarts_total") == 0 {
        token.health().await.expect("well");
    }
    assert_eq!(count("strongroom_hsm_restarts_total"), 1);
    assert_eq!(count("strongroom_hsm_calls_total function=mac"), 4);
}
