//! Switches sealing off in the profile `unsealed-bench`, and in no other.

use std::path::Path;

fn main() {
    println!("cargo::rerun-if-changed=build.rs");
    println!("cargo::rustc-check-cfg=cfg(unsealed)");
    let out_dir = std::env::var_os("OUT_DIR").expect("cargo sets OUT_DIR for a build script");
    if is_unsealed(Path::new(&out_dir)) {
        println!("cargo::rustc-cfg=unsealed");
    }
}

/// Whether `out_dir`, which is `<profile>/build/<package>/out`, belongs to that profile.
///
/// The profile's own directory is looked at and nothing above it, so that neither a checkout nor
/// a target directory of that name can switch sealing off; an unknown layout seals.
pub(crate) fn is_unsealed(out_dir: &Path) -> bool {
    let mut above = out_dir.ancestors().skip(2);
    let build = above.next().and_then(Path::file_name);
    let profile = above.next().and_then(Path::file_name);
    build.is_some_and(|name| name == "build")
        && profile.is_some_and(|name| name == "unsealed-bench")
}
