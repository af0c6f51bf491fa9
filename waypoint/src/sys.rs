//! The allocator's settings, the one thing in this program that needs `unsafe`.
//!
//! jemalloc reads the symbol when it starts. Its own thread gives back what has been free for a second: taking in a large
//! set of routes needs several times the memory that they then have.

#[global_allocator]
static ALLOCATOR: tikv_jemallocator::Jemalloc = tikv_jemallocator::Jemalloc;

// SAFETY: the name is the one that this build of jemalloc looks for, nothing else defines it, and the value is a
// NUL-terminated string that lives for the whole program, reached by a thin pointer as in C.
#[expect(
    unsafe_code,
    reason = "jemalloc finds its settings by the name of a symbol"
)]
#[unsafe(export_name = "_rjem_malloc_conf")]
static MALLOC_CONF: Option<&'static std::ffi::c_char> = Some(settings());

const fn settings() -> &'static std::ffi::c_char {
    const TEXT: &std::ffi::CStr =
        c"background_thread:true,thp:never,dirty_decay_ms:1000,muzzy_decay_ms:0";
    // SAFETY: a C string has at least its NUL, so its pointer is valid for reads and lives as long as the constant.
    #[expect(unsafe_code, reason = "jemalloc wants a C pointer")]
    unsafe {
        &*TEXT.as_ptr()
    }
}
