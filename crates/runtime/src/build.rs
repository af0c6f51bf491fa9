//! Which build this is, for `--version`, logs and the metric `culvert_build_info`.

/// The version of the workspace that this binary was built from.
pub const VERSION: &str = env!("CARGO_PKG_VERSION");

/// Export `culvert_build_info{component, version} 1`.
pub fn register(component: &str) {
    let info = crate::metrics::int_gauge_vec(
        "culvert_build_info",
        "Constant 1; the labels say which component and version runs.",
        &["component", "version"],
    );
    info.with_label_values(&[component, VERSION]).set(1);
}
