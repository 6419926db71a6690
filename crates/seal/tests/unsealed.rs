//! No profile but `unsealed-bench` switches sealing off.

use std::path::Path;

#[expect(dead_code, clippy::print_stdout, reason = "its `main` talks to cargo")]
#[path = "../build.rs"]
mod build_script;

use build_script::is_unsealed;

#[test]
fn this_build_seals() {
    const { assert!(strongroom_seal::SEALS) };
}

#[test]
fn only_the_directory_of_the_profile_counts() {
    let cases = [
        (
            "/w/target/unsealed-bench/build/strongroom-seal-0a/out",
            true,
        ),
        (
            "/w/target/x86_64-unknown-linux-gnu/unsealed-bench/build/strongroom-seal-0a/out",
            true,
        ),
        ("/w/target/release/build/strongroom-seal-0a/out", false),
        ("/w/target/debug/build/strongroom-seal-0a/out", false),
        (
            "/unsealed-bench/target/release/build/strongroom-seal-0a/out",
            false,
        ),
        (
            "/w/unsealed-bench/release/build/strongroom-seal-0a/out",
            false,
        ),
        (
            "/w/unsealed-bench/build/release/build/strongroom-seal-0a/out",
            false,
        ),
        (
            "/w/target/unsealed-bench-2/build/strongroom-seal-0a/out",
            false,
        ),
        (
            "/w/target/unsealed-bench/other/strongroom-seal-0a/out",
            false,
        ),
        ("out", false),
    ];
    for (out_dir, expected) in cases {
        assert_eq!(is_unsealed(Path::new(out_dir)), expected, "{out_dir}");
    }
}
