//! Models and prompts.

use crate::failure::{CCS_STATUS_SIGNATURE, CCS_STATUS_UNTRAINED, Failure, ccs_status, guard, guard_into};
use crate::handle::{self, Object, ccs_model, ccs_prompt};
use crate::thread::{ThreadWishes, ccs_thread_start};
use crate::types::{boolean, check_pointer, elements, options, read_options, reserved, sized, string, write};
use runtime::bundle::{Bundle, VerifyingKey};
use runtime::engine::Device;
use runtime::{Model, ModelError, ModelFile, ModelOptions};
use std::ffi::{c_char, c_void};
use std::path::Path;
use std::sync::Arc;

/// The most threads that share the work on one frame.
pub const CCS_MAX_THREADS: u32 = 64;

/// The CPU computes.
pub const CCS_DEVICE_CPU: u32 = 0;
/// A hardware GPU computes if one is usable, the CPU otherwise.
pub const CCS_DEVICE_AUTO: u32 = 1;
/// A GPU computes; falls back to the CPU if it can't or stops working.
pub const CCS_DEVICE_GPU: u32 = 2;

/// How a model is opened; null means one thread of the CPU, 64 cached prompts, no confounders, trained weights only.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_model_options {
    /// sizeof(ccs_model_options).
    pub struct_size: u32,
    /// Threads that share the work on one frame, the calling one among them, 1 to CCS_MAX_THREADS; 0 is 1.
    pub threads: u32,
    /// Prompts whose encoding is kept; 0 is 64.
    pub cached_prompts: u32,
    /// 1 to compute the confounder map too, which costs time, or 0.
    pub confounders: u32,
    /// 1 to open weights that were never trained, whose masks mean nothing, or 0.
    pub allow_untrained: u32,
    /// What computes a frame, one of CCS_DEVICE_*. A library built without GPUs refuses CCS_DEVICE_GPU.
    pub device: u32,
    /// The most that the model and one session may hold, see ccs_model_info.memory_bytes; 0: any. A model that needs more is
    /// refused with CCS_STATUS_MEMORY, before any frame runs.
    pub memory_cap_bytes: u64,
    /// Which GPU: 0 for the most capable, or one more than its number in the list of `causalclipseg inspect`.
    pub gpu: u32,
    /// Set to 0.
    pub reserved: u32,
    /// Called first in each of the `threads` - 1 worker threads; null: nothing is called.
    pub on_thread_start: ccs_thread_start,
    /// The first argument of `on_thread_start`.
    pub thread_user: *mut c_void,
    /// The cores that workers run on: worker n, from 1, on core `cores[(n - 1) % core_count]` alone. The thread that submits a
    /// frame is the host's and is not moved. Null and 0: the system chooses. Cores that this process may not use are refused.
    pub cores: *const u32,
    /// The numbers that `cores` points to.
    pub core_count: usize,
    /// Ed25519 keys, 32 bytes each: the bundle must be signed by one of them, or is refused with CCS_STATUS_SIGNATURE. Null and 0:
    /// any bundle is accepted, signed or not.
    pub public_keys: *const u8,
    /// The keys that `public_keys` points to.
    pub public_key_count: usize,
}

/// A description of a model.
#[repr(C)]
#[derive(Clone, Copy, Debug)]
pub struct ccs_model_info {
    /// sizeof(ccs_model_info).
    pub struct_size: u32,
    /// The network's input is this many pixels a side.
    pub input_size: u32,
    /// A pixel is lesion where its probability is above this.
    pub threshold: f32,
    /// 1 where the weights were trained.
    pub trained: u32,
    /// The memory of the model and one session after one prompt was run: bundle, weights, tensors, input and logits. Not
    /// included: the tokenizer, cached prompts, results (five bytes a pixel of a frame and prompt, nine with confounders). 0 if
    /// the engine that runs the network does not report it.
    pub memory_bytes: u64,
    /// UTF-8, zero-terminated; truncated if longer.
    pub name: [c_char; 64],
    /// The SHA-256 of the whole bundle.
    pub sha256: [u8; 32],
    /// Why the CPU runs in place of the requested GPU; empty while the requested device runs. UTF-8, zero-terminated; truncated
    /// if longer.
    pub fallback: [c_char; 160],
}

sized!(ccs_model_info);
options!(ccs_model_options);

/// # Safety
/// `cores` and `public_keys` of the options are null or have as many numbers and keys as they say.
unsafe fn plan(file: ModelFile, options: ccs_model_options) -> Result<ccs_model, Failure> {
    let ccs_model_options { threads, cached_prompts, memory_cap_bytes, .. } = options;
    reserved("ccs_model_options.reserved", options.reserved)?;
    let confounders = boolean("ccs_model_options.confounders", options.confounders)?;
    let allow_untrained = boolean("ccs_model_options.allow_untrained", options.allow_untrained)?;
    let device = device(options)?;
    let ccs_model_options { on_thread_start, thread_user, cores, core_count, .. } = options;
    // SAFETY: as promised.
    let wishes = unsafe { ThreadWishes::read(on_thread_start, thread_user, cores, core_count) }?;
    if threads > CCS_MAX_THREADS {
        return Err(Failure::argument(format!("{threads} threads: give 1 to {CCS_MAX_THREADS}")));
    }
    // SAFETY: as promised.
    unsafe { check_signature(&file, options.public_keys, options.public_key_count) }?;
    if !file.description().trained && !allow_untrained {
        let message =
            "the model's weights were never trained, so its masks mean nothing: set allow_untrained to run it";
        return Err(Failure::new(CCS_STATUS_UNTRAINED, message));
    }
    let default = ModelOptions::default();
    let cached_prompts = if cached_prompts == 0 { default.cached_prompts } else { cached_prompts as usize };
    let engine = default.engine.clone().with_on_thread_start(wishes.start());
    let options = default
        .with_engine(engine)
        .with_confounders(confounders)
        .with_cached_prompts(cached_prompts)
        .with_threads(threads.max(1) as usize)
        .with_device(device)
        .with_memory_cap_bytes((memory_cap_bytes != 0).then_some(memory_cap_bytes));
    let model = Model::from_file(file, options)?;
    wishes.check()?;
    Ok(ccs_model { id: handle::keep(Object::Model(Arc::new(model))) })
}

/// Checks that one of these keys signed the bundle; any bundle passes without keys.
///
/// # Safety
/// `keys` is null or has `count` keys.
unsafe fn check_signature(file: &ModelFile, keys: *const u8, count: usize) -> Result<(), Failure> {
    // SAFETY: as promised; an array of bytes has the alignment of one.
    let keys = unsafe { elements(keys.cast::<[u8; 32]>(), count, "public_keys") }?;
    if keys.is_empty() {
        return Ok(());
    }
    let refuse = |reason: String| Failure::new(CCS_STATUS_SIGNATURE, reason);
    let bundle =
        file.bundle().ok_or_else(|| refuse("only a bundle can be signed: pack the model with --sign".into()))?;
    let mut reason = String::new();
    for (index, key) in keys.iter().enumerate() {
        let key = VerifyingKey::from_bytes(key);
        let key = key
            .map_err(|error| Failure::argument(format!("public key {index} is not valid ({error}): give 32 bytes")))?;
        match bundle.verify_signature(&key) {
            Ok(()) => return Ok(()),
            Err(error) => reason = error.to_string(),
        }
    }
    Err(refuse(reason))
}

fn device(options: ccs_model_options) -> Result<Device, Failure> {
    let ccs_model_options { device, gpu, .. } = options;
    match device {
        CCS_DEVICE_CPU => Ok(Device::Cpu),
        CCS_DEVICE_AUTO => Ok(Device::Auto),
        CCS_DEVICE_GPU if cfg!(not(feature = "gpu")) => Err(Failure::argument(
            "this library was built without GPUs: set device to CCS_DEVICE_CPU or CCS_DEVICE_AUTO",
        )),
        CCS_DEVICE_GPU => Ok(Device::Gpu { index: gpu.checked_sub(1).map(|index| index as usize) }),
        other => Err(Failure::argument(format!("{other} is not a device: give one of CCS_DEVICE_*"))),
    }
}

/// Copies as much of a text as fits, and ends it with a zero.
fn cut<const N: usize>(text: &str) -> [c_char; N] {
    let mut cut = [0; N];
    let mut length = text.len().min(N - 1);
    while !text.is_char_boundary(length) {
        length -= 1;
    }
    for (to, from) in cut.iter_mut().zip(text.as_bytes().iter().take(length)) {
        *to = *from as c_char;
    }
    cut
}

/// Opens a .ccs file; `path` is UTF-8. The whole file is checked against its sums. A library built with the feature onnx
/// opens an exported model.onnx too, with its tokenizer.json beside it. After a failure `*model` is 0, which is not a handle:
/// every function refuses it, and there is nothing to free. This holds for all functions that create a handle.
///
/// # Safety
/// `path` is a zero-terminated string; `options` is null or tells its size, and has what its pointers say; `model` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_model_open(
    path: *const c_char,
    options: *const ccs_model_options,
    model: *mut ccs_model,
) -> ccs_status {
    let open = |model: &mut ccs_model| {
        // SAFETY: as the caller promises.
        let (path, options) = unsafe { (string(path, "path")?, read_options(options)?) };
        // SAFETY: as the caller promises.
        *model = unsafe { plan(ModelFile::open(Path::new(path))?, options) }?;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { guard_into(model, "model", open) }
}

/// Opens a .ccs file's bytes. They are copied: the host may free them afterwards. After a failure `*model` is 0.
///
/// # Safety
/// `bytes` has `size` bytes; the rest as for ccs_model_open.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_model_open_memory(
    bytes: *const c_void,
    size: usize,
    options: *const ccs_model_options,
    model: *mut ccs_model,
) -> ccs_status {
    let open = |model: &mut ccs_model| {
        check_pointer(bytes.cast::<u8>(), "bytes")?;
        // SAFETY: as the caller promises.
        let (bytes, options) = unsafe { (elements(bytes.cast::<u8>(), size, "bytes")?, read_options(options)?) };
        let bundle = Bundle::from_bytes(bytes.to_vec()).map_err(ModelError::from)?;
        // SAFETY: as the caller promises.
        *model = unsafe { plan(bundle.into(), options) }?;
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { guard_into(model, "model", open) }
}

/// Describes a model. Set `info->struct_size` before the call.
///
/// # Safety
/// `info` is null or tells its size, and may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_model_describe(model: ccs_model, info: *mut ccs_model_info) -> ccs_status {
    guard(|| {
        let model = handle::model(model)?;
        let description = model.description();
        let value = ccs_model_info {
            struct_size: size_of::<ccs_model_info>() as u32,
            // Opening bounds it.
            input_size: description.input_size as u32,
            threshold: description.threshold,
            trained: u32::from(description.trained),
            memory_bytes: model.memory_bytes(1).unwrap_or(0),
            name: cut(&description.name),
            sha256: model.sha256().0,
            fallback: cut(model.fallback().unwrap_or_default()),
        };
        // SAFETY: as the caller promises.
        unsafe { write(info, value) }
    })
}

/// Runs the model's self-test, which compares this CPU's logits with those of the packing machine. `deviation` may be null; it
/// receives the largest difference of a logit as a fraction of the largest logit, NaN if the bundle has no test.
///
/// # Safety
/// `deviation` is null or may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_model_self_test(model: ccs_model, deviation: *mut f32) -> ccs_status {
    guard(|| {
        let found = handle::model(model)?.self_test()?;
        if !deviation.is_null() {
            check_pointer(deviation, "deviation")?;
            // SAFETY: not null, aligned, and writable as the caller promises.
            unsafe { deviation.write(found.unwrap_or(f32::NAN)) };
        }
        Ok(())
    })
}

/// Frees a model's handle. Prompts, sessions and streams made with it keep what they need. Does nothing for 0.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_model_free(model: ccs_model) -> ccs_status {
    handle::free("model", model.id)
}

/// Encodes a sentence, UTF-8. That takes as long as a frame or longer: do it once, and not between frames. After a failure
/// `*prompt` is 0.
///
/// # Safety
/// `text` is a zero-terminated string; `prompt` may be written.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn ccs_prompt_new(model: ccs_model, text: *const c_char, prompt: *mut ccs_prompt) -> ccs_status {
    let encode = |prompt: &mut ccs_prompt| {
        // SAFETY: as the caller promises.
        let text = unsafe { string(text, "text") }?;
        let model = handle::model(model)?;
        *prompt = ccs_prompt { id: handle::keep(Object::Prompt(model.prompt(text)?)) };
        Ok(())
    };
    // SAFETY: as the caller promises.
    unsafe { guard_into(prompt, "prompt", encode) }
}

/// Frees a prompt's handle. Does nothing for 0.
#[unsafe(no_mangle)]
pub extern "C" fn ccs_prompt_free(prompt: ccs_prompt) -> ccs_status {
    handle::free("prompt", prompt.id)
}

const _: () = assert!(CCS_MAX_THREADS as usize == runtime::kernels::MAX_THREADS);
