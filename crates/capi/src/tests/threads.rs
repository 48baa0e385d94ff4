//! The host's hook and cores for the threads that the library starts.

use super::*;
use runtime::machine::allowed_cores;
use std::sync::Mutex;

/// Kind, index, the thread's name and the cores that it may run on.
type Started = Mutex<Vec<(u32, u32, String, Option<Vec<usize>>)>>;

unsafe extern "C" fn note(user: *mut c_void, kind: u32, index: u32) {
    // SAFETY: `user` is the test's.
    let started = unsafe { &*user.cast::<Started>() };
    let name = std::thread::current().name().unwrap_or_default().to_string();
    std::thread::sleep(std::time::Duration::from_millis(20));
    started.lock().unwrap().push((kind, index, name, allowed_cores()));
}

fn start(options: &ccs_model_options) -> (ccs_status, ccs_model) {
    let path = CString::new(shipped().to_str().unwrap()).unwrap();
    let mut model = ccs_model { id: 9 };
    // SAFETY: pointers are to what this test holds.
    (unsafe { ccs_model_open(path.as_ptr(), options, &mut model) }, model)
}

#[test]
fn the_hook_runs_in_every_thread_before_the_call_returns() {
    let started = Started::default();
    let user = (&raw const started).cast_mut().cast();
    let options =
        ccs_model_options { threads: 3, on_thread_start: Some(note), thread_user: user, ..Default::default() };
    let (status, model) = start(&options);
    ok(status);
    let mut workers: Vec<(u32, u32)> =
        started.lock().unwrap().drain(..).map(|(kind, index, ..)| (kind, index)).collect();
    workers.sort_unstable();
    assert_eq!(workers, [(CCS_THREAD_WORKER, 1), (CCS_THREAD_WORKER, 2)]);

    unsafe extern "C" fn ignore(_: *mut c_void, _: *const ccs_event) {}
    let (mut stream, texts) = (ccs_stream::default(), [c"a dark nodule".as_ptr()]);
    let options = ccs_stream_options { on_thread_start: Some(note), thread_user: user, ..Default::default() };
    let none = ptr::null_mut();
    // SAFETY: pointers are to this function's own, and the stream is closed before they go.
    ok(unsafe { ccs_stream_open(&model, 1, texts.as_ptr(), 1, &options, Some(ignore), none, &mut stream) });
    let found = started.lock().unwrap().pop().unwrap();
    assert_eq!((found.0, found.1, found.2.as_str()), (CCS_THREAD_STREAM, 0, "causalclipseg-stream"));
    ok(ccs_stream_close(stream, 0));
    ok(ccs_model_free(model));
    // One thread: no worker is started.
    let options = ccs_model_options { on_thread_start: Some(note), thread_user: user, ..Default::default() };
    ok(start(&options).0);
    assert!(started.lock().unwrap().is_empty());
}

#[test]
#[cfg_attr(not(target_os = "linux"), ignore = "only Linux keeps threads on cores")]
fn threads_stay_on_the_cores_that_are_named() {
    let here = allowed_cores().unwrap();
    let started = Started::default();
    let user = (&raw const started).cast_mut().cast();
    let cores: Vec<u32> = here.iter().take(2).map(|core| *core as u32).collect();
    let options = ccs_model_options {
        threads: 4,
        on_thread_start: Some(note),
        thread_user: user,
        cores: cores.as_ptr(),
        core_count: cores.len(),
        ..Default::default()
    };
    let (status, model) = start(&options);
    ok(status);
    for (_, index, _, allowed) in started.lock().unwrap().drain(..) {
        let expected = cores[(index as usize - 1) % cores.len()] as usize;
        assert_eq!(allowed, Some(vec![expected]), "worker {index}");
    }
    assert_eq!(allowed_cores().unwrap(), here, "the host's own thread stays where it was");

    unsafe extern "C" fn ignore(_: *mut c_void, _: *const ccs_event) {}
    let (mut stream, texts) = (ccs_stream::default(), [c"a dark nodule".as_ptr()]);
    let mut live = |cores: &[u32]| {
        let options = ccs_stream_options {
            on_thread_start: Some(note),
            thread_user: user,
            cores: cores.as_ptr(),
            core_count: cores.len(),
            ..Default::default()
        };
        let none = ptr::null_mut();
        // SAFETY: pointers are to this function's own, and the stream is closed before they go.
        (unsafe { ccs_stream_open(&model, 1, texts.as_ptr(), 1, &options, Some(ignore), none, &mut stream) }, stream)
    };
    let (status, stream) = live(&cores);
    ok(status);
    let expected: Vec<usize> = cores.iter().map(|core| *core as usize).collect();
    assert_eq!(started.lock().unwrap().pop().unwrap().3, Some(expected));
    ok(ccs_stream_close(stream, 0));

    // Cores that do not exist: nothing is leaked.
    for (core, part) in [(1000, "1000"), (u32::MAX, "above 1023")] {
        let cores = [cores[0], core];
        let (status, stream) = live(&cores);
        refused(status, CCS_STATUS_ARGUMENT, part);
        assert_eq!(stream.id, 0);
        let options = ccs_model_options { threads: 3, cores: cores.as_ptr(), core_count: 2, ..Default::default() };
        let (status, model) = start(&options);
        refused(status, CCS_STATUS_ARGUMENT, part);
        assert_eq!(model.id, 0);
    }
    let options = ccs_model_options { core_count: 1, ..Default::default() };
    refused(start(&options).0, CCS_STATUS_NULL, "cores is null");
}
