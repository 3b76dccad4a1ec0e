//! Makes code of the `.proto` files that the crate `kurrentdb` brings. It needs no `protoc`.

fn main() {
    #[cfg(feature = "stubs")]
    stubs::generate();
}

#[cfg(feature = "stubs")]
mod stubs {
    use std::{env, path::PathBuf, process::Command};

    /// The files, by their place in the folder of the client.
    const FILES: [&str; 3] = ["gossip.proto", "operations.proto", "streams.proto"];

    pub fn generate() {
        let protos = client_folder().join("protos");
        println!("cargo:rerun-if-changed={}", protos.display());
        let files = protox::compile(FILES, [&protos]).expect("the client's .proto files are understood");
        let feature = |name: &str| env::var_os(format!("CARGO_FEATURE_{name}")).is_some();
        tonic_build::configure()
            .build_client(feature("CLIENT"))
            .build_server(feature("SERVER"))
            .bytes(["."])
            .include_file("protocol.rs")
            .compile_fds(files)
            .expect("code is made of the .proto files");
    }

    /// Where cargo has put the sources of the client.
    fn client_folder() -> PathBuf {
        let variable = |name: &str| env::var(name).expect("cargo sets it");
        let manifest = format!("{}/Cargo.toml", variable("CARGO_MANIFEST_DIR"));
        let target = variable("TARGET");
        let output = Command::new(variable("CARGO"))
            .args(["metadata", "--format-version=1", "--locked", "--features=stubs"])
            .args(["--filter-platform", &target, "--manifest-path", &manifest])
            .output()
            .expect("cargo runs");
        assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
        let metadata: serde_json::Value = serde_json::from_slice(&output.stdout).expect("JSON");
        let packages = metadata["packages"].as_array().expect("packages");
        let client = packages.iter().find(|package| package["name"] == "kurrentdb").expect("the client");
        let manifest = PathBuf::from(client["manifest_path"].as_str().expect("a path"));
        manifest.parent().expect("its folder").to_owned()
    }
}
