//! Makes `libmimalloc.so` of the sources that the crate of mimalloc carries: the wheel brings it along, and the nodes of
//! the embedded cluster have it preloaded (docs/adr/0007-embedded-cluster.md).

use std::env;
use std::error::Error;
use std::path::{Path, PathBuf};

fn main() -> Result<(), Box<dyn Error>> {
    println!("cargo:rerun-if-changed=build.rs");
    if env::var("CARGO_CFG_TARGET_OS")? != "linux" {
        return Ok(());
    }
    let include = PathBuf::from(env::var("DEP_MIMALLOC_INCLUDE_DIR")?);
    let source = include.join("../src/static.c");
    // As mimalloc's own build makes a library that stands in for the system's allocator.
    let mut command = cc::Build::new()
        .opt_level(3)
        .pic(true)
        .include(&include)
        .define("NDEBUG", None)
        .define("MI_BUILD_RELEASE", None)
        .define("MI_MALLOC_OVERRIDE", None)
        .define("MI_SHARED_LIB", None)
        .define("MI_SHARED_LIB_EXPORT", None)
        .flag("-fvisibility=hidden")
        .flag("-fno-builtin-malloc")
        .flag("-ftls-model=initial-exec")
        .try_get_compiler()?
        .to_command();
    command.arg("-shared").arg("-pthread").arg(source).arg("-o");
    command.arg(Path::new(&env::var("OUT_DIR")?).join("libmimalloc.so"));
    if command.status()?.success() { Ok(()) } else { Err("the C compiler could not make libmimalloc.so".into()) }
}
