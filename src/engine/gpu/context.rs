//! An opened device, and the only way in which it is called: every driver failure is returned as an error.

use super::adapter::{self, AdapterDescription};
use super::error::{GpuError, one_line};
use super::shader::Storage;
use super::tile::Abilities;
use crate::engine::Device;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;
use wgpu::Features;

/// How long a frame may take. A hardware GPU's driver gives up sooner; a software driver may need minutes for a large
/// network.
const PATIENCE: Duration = Duration::from_secs(20);
const PATIENCE_WITH_SOFTWARE: Duration = Duration::from_secs(1800);

/// Errors that the device reports on its own, at any time and from any thread.
#[derive(Default)]
struct Trouble {
    lost: Option<String>,
    error: Option<String>,
}

/// A device and its queue.
pub(super) struct GpuContext {
    pub device: wgpu::Device,
    pub queue: wgpu::Queue,
    pub adapter: AdapterDescription,
    pub limits: wgpu::Limits,
    pub patience: Duration,
    trouble: Arc<Mutex<Trouble>>,
}

fn locked(trouble: &Mutex<Trouble>) -> std::sync::MutexGuard<'_, Trouble> {
    // Each field is valid at any time.
    trouble.lock().unwrap_or_else(PoisonError::into_inner)
}

impl GpuContext {
    pub(crate) fn open(device: Device) -> Result<Self, GpuError> {
        let (adapter, description) = adapter::choose(device)?;
        let mut wanted = Features::SHADER_F16 | Features::TIMESTAMP_QUERY | Features::PIPELINE_CACHE;
        let mut experimental_features = wgpu::ExperimentalFeatures::disabled();
        if description.matrix_units {
            wanted |= Features::EXPERIMENTAL_COOPERATIVE_MATRIX;
            #[expect(unsafe_code, reason = "wgpu wants to hear that a feature may have faults")]
            // SAFETY: the feature only adds WGSL functions. The shaders that use them are our own and run on a device only
            // after their results were compared there with those of the plain shaders (`search.rs`).
            unsafe {
                experimental_features = wgpu::ExperimentalFeatures::enabled();
            }
        }
        let limits = adapter.limits();
        let descriptor = wgpu::DeviceDescriptor {
            label: Some("causalclipseg"),
            required_features: adapter.features() & wanted,
            required_limits: limits.clone(),
            experimental_features,
            ..Default::default()
        };
        let opened = catch_unwind(AssertUnwindSafe(|| pollster::block_on(adapter.request_device(&descriptor))));
        let refused = |reason: String| GpuError::Refused { reason: one_line(&reason) };
        let (device, queue) =
            opened.map_err(|_| refused("its driver panicked".into()))?.map_err(|error| refused(error.to_string()))?;
        let trouble = Arc::new(Mutex::new(Trouble::default()));
        let heard = trouble.clone();
        device.on_uncaptured_error(Arc::new(move |error: wgpu::Error| {
            locked(&heard).error.get_or_insert(one_line(&error.to_string()));
        }));
        let heard = trouble.clone();
        device.set_device_lost_callback(move |reason, message| {
            let reason = match message.trim() {
                "" => format!("{reason:?}"),
                message => one_line(message),
            };
            locked(&heard).lost.get_or_insert(reason);
        });
        let patience = if description.kind == "software" { PATIENCE_WITH_SOFTWARE } else { PATIENCE };
        Ok(Self { device, queue, adapter: description, limits, patience, trouble })
    }

    /// What tiles may use, for maps in f16 or f32.
    pub(crate) fn abilities(&self, storage: Storage) -> Abilities {
        let AdapterDescription { f16, matrix_units, kind, .. } = &self.adapter;
        let is_half = storage == Storage::F16 && *f16;
        Abilities {
            f16: is_half,
            matrix: is_half && *matrix_units,
            // A data-centre card has some hundred processors that each run several groups, an integrated one some eight.
            // A driver that computes on the CPU runs its groups one after the other.
            busy_groups: match *kind {
                "discrete" => 256,
                "software" => 1,
                _ => 32,
            },
            most_invocations: self
                .limits
                .max_compute_invocations_per_workgroup
                .min(self.limits.max_compute_workgroup_size_x) as usize,
            most_shared_bytes: self.limits.max_compute_workgroup_storage_size as usize,
        }
    }

    /// Runs code that calls the device. Errors come from `work` itself, from wgpu's error scopes, from the callbacks,
    /// and from panics: wgpu panics where waiting for a lost device fails.
    pub(crate) fn guarded<T>(
        &self,
        what: &'static str,
        work: impl FnOnce() -> Result<T, GpuError>,
    ) -> Result<T, GpuError> {
        let driver = |reason: String| GpuError::Driver { what, reason: one_line(&reason) };
        self.check(what)?;
        let result = catch_unwind(AssertUnwindSafe(|| {
            let filters = [wgpu::ErrorFilter::OutOfMemory, wgpu::ErrorFilter::Validation, wgpu::ErrorFilter::Internal];
            let scopes = filters.map(|filter| self.device.push_error_scope(filter));
            let result = work();
            // Scopes are popped in reverse order.
            let [outer, middle, inner] = scopes;
            let errors = [inner, middle, outer].map(|scope| pollster::block_on(scope.pop()));
            match errors.into_iter().flatten().next() {
                Some(error) => Err(driver(error.to_string())),
                None => result,
            }
        }));
        let result = result.unwrap_or_else(|panic| {
            let message = panic.downcast_ref::<String>().map(String::as_str);
            let message = message.or_else(|| panic.downcast_ref::<&str>().copied());
            Err(driver(message.unwrap_or("it panicked").to_string()))
        });
        // A lost device explains any other error.
        match (self.check(what), result) {
            (Err(lost @ GpuError::Lost { .. }), _) => Err(lost),
            (_, Err(error)) => Err(error),
            (Err(error), _) => Err(error),
            (Ok(()), result) => result,
        }
    }

    /// Returns the errors that the device has reported so far.
    fn check(&self, what: &'static str) -> Result<(), GpuError> {
        let trouble = locked(&self.trouble);
        match (&trouble.lost, &trouble.error) {
            (Some(reason), _) => Err(GpuError::Lost { reason: reason.clone() }),
            (None, Some(reason)) => Err(GpuError::Driver { what, reason: reason.clone() }),
            (None, None) => Ok(()),
        }
    }

    /// Waits until all that was submitted is done.
    pub(crate) fn wait(&self, submission: Option<wgpu::SubmissionIndex>) -> Result<(), GpuError> {
        let poll = wgpu::PollType::Wait { submission_index: submission, timeout: Some(self.patience) };
        match self.device.poll(poll) {
            Ok(_) => Ok(()),
            Err(wgpu::PollError::Timeout) => Err(GpuError::Timeout { seconds: self.patience.as_secs() }),
            // A lost device accepts work silently and never does it.
            Err(wgpu::PollError::WrongSubmissionIndex(..)) => {
                Err(GpuError::Lost { reason: "it accepts no more work".into() })
            }
        }
    }
}
