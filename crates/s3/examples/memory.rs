//! Serves S3 from engines in memory, for trying clients on: `cargo run -p strongroom-s3 --example
//! memory -- 127.0.0.1:9000`. Prints what a client needs as one line of JSON.

use std::io::Write as _;

#[path = "../tests/s3/world.rs"]
#[allow(dead_code, reason = "the tests use more of it")]
mod world;

#[tokio::main]
async fn main() -> std::io::Result<()> {
    let listen = std::env::args().nth(1).unwrap_or("127.0.0.1:9000".into());
    let world = world::World::with(world::Ways::default(), &listen).await;
    let told = serde_json::json!({
        "s3_url": format!("http://{}", world.address),
        "region": world::REGION,
        "access_key_id": world.admin.id,
        "secret_access_key": world.admin.secret,
    });
    writeln!(std::io::stdout(), "{told}")?;
    loop {
        tokio::time::sleep(std::time::Duration::from_secs(1)).await;
        // A run that fails is tried again; this is for trying clients on.
        let _ = world.lifecycle.run_once().await;
    }
}
