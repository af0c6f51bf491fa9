//! Compiles `protos/` without a system protoc: protox parses, tonic-prost-build generates.

fn main() -> anyhow::Result<()> {
    let protos = [
        "ads",
        "authorization",
        "ca",
        "node",
        "waypoint",
        "workload",
        "zds",
    ]
    .map(|name| format!("protos/{name}.proto"));
    println!("cargo:rerun-if-changed=protos");
    let descriptors = protox::compile(&protos, ["protos"])?;
    tonic_prost_build::configure()
        // Ordered, so that equal messages have equal bytes: versions are content hashes.
        .btree_map(".istio.workload")
        .bytes(".istio.workload")
        .bytes(".istio.security")
        .bytes(".culvert.node.v1.Pod")
        .emit_rerun_if_changed(false)
        .compile_fds(descriptors)?;
    Ok(())
}
