//! Lines in the host's log, and an empty standard error of the host.

use super::*;
use std::process::Command;
use std::sync::Mutex;

/// Level, module and message.
type Lines = Mutex<Vec<(u32, String, String)>>;

unsafe extern "C" fn keep(
    user: *mut c_void,
    level: u32,
    module: *const std::ffi::c_char,
    message: *const std::ffi::c_char,
) {
    // SAFETY: `user` is the test's, and both strings are lent.
    unsafe {
        let text = |text| CStr::from_ptr(text).to_str().unwrap().to_string();
        (&*user.cast::<Lines>()).lock().unwrap().push((level, text(module), text(message)));
        // Refused, and not waited for.
        refused(ccs_set_log(None, ptr::null_mut(), CCS_LOG_OFF), CCS_STATUS_BUSY, "from its own callback");
        // What this logs is left out.
        ccs_model_open(c"no/such.ccs".as_ptr(), ptr::null(), &mut ccs_model::default());
    }
}

/// A single test, since the process has one log, which other tests fill meanwhile.
#[test]
fn lines_go_to_the_callback_up_to_their_level() {
    let lines = Lines::default();
    let user = (&raw const lines).cast_mut().cast();
    let has = |level, part: &str| lines.lock().unwrap().iter().any(|line| line.0 == level && line.2.contains(part));
    // SAFETY: `lines` outlives the last call that names it.
    let set = |level| unsafe { ccs_set_log(Some(keep), user, level) };
    refused(set(6), CCS_STATUS_ARGUMENT, "6 is not a level");
    ok(set(CCS_LOG_WARN));
    ok(ccs_model_free(open(false)));
    assert!(!has(CCS_LOG_INFO, ""), "{lines:?}");
    ok(set(CCS_LOG_INFO));
    ok(ccs_model_free(open(false)));
    assert!(has(CCS_LOG_INFO, "toy ready in"), "{lines:?}");
    assert!(lines.lock().unwrap().iter().all(|(level, module, message)| {
        (CCS_LOG_ERROR..=CCS_LOG_INFO).contains(level) && !module.is_empty() && !message.contains('\n')
    }));
    let status = crate::failure::guard(|| panic!("two\nlines"));
    refused(status, CCS_STATUS_INTERNAL, "a defect of causalclipseg (two lines)");
    assert!(has(CCS_LOG_ERROR, "two lines") && has(CCS_LOG_ERROR, "src/tests/log.rs"), "{lines:?}");
    // SAFETY: as above.
    ok(unsafe { ccs_set_log(None, ptr::null_mut(), CCS_LOG_INFO) });
    let count = lines.lock().unwrap().len();
    ok(ccs_model_free(open(false)));
    assert_eq!(lines.lock().unwrap().len(), count, "a callback that was taken back is called");
}

/// Run by the test below, in a process of its own.
#[test]
#[ignore = "part of another test"]
fn a_call_panics() {
    refused(crate::failure::guard(|| panic!("a mistake of ours")), CCS_STATUS_INTERNAL, "a mistake of ours");
}

#[test]
fn a_panic_is_kept_from_standard_error() {
    let run = |name: &str| {
        let test = std::env::current_exe().unwrap();
        let arguments = ["--ignored", "--exact", "--nocapture", name];
        Command::new(test).args(arguments).output().unwrap()
    };
    let output = run("tests::log::a_call_panics");
    let (said, errors) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success() && said.contains("1 passed"), "{said}{errors}");
    assert!(!errors.contains("a mistake of ours") && !errors.contains("panicked"), "{errors}");
}
