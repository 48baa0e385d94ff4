//! Which cores a thread may run on.

use super::format_cores;

/// Why a thread cannot be pinned to some cores.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum AffinityError {
    #[error("the list of cores is empty")]
    Empty,
    #[error("core {core} is above {most}, the largest possible number")]
    Range { core: usize, most: usize },
    #[error("this thread cannot be pinned to the cores {} ({reason})", format_cores(cores))]
    Refused { cores: Vec<usize>, reason: String },
}

/// The cores that the calling thread may run on; `None` where the system does not tell.
pub fn allowed_cores() -> Option<Vec<usize>> {
    system::allowed()
}

/// Restricts the calling thread, and those that it will start, to these cores.
///
/// # Errors
/// The list is empty, a core does not exist or is not available to this process, or the system has no such call.
pub fn restrict_to(cores: &[usize]) -> Result<(), AffinityError> {
    if cores.is_empty() {
        return Err(AffinityError::Empty);
    }
    let refuse = |reason: String| AffinityError::Refused { cores: cores.to_vec(), reason };
    system::restrict(cores)?;
    // Linux silently drops cores that do not exist, as long as one is left.
    match system::allowed() {
        Some(allowed) if cores.iter().all(|core| allowed.contains(core)) => Ok(()),
        Some(allowed) => Err(refuse(format!("it gave {}", format_cores(&allowed)))),
        None => Err(refuse("it does not say what it gave".into())),
    }
}

#[cfg(target_os = "linux")]
mod system {
    use super::AffinityError;
    use rustix::thread::{CpuSet, sched_getaffinity, sched_setaffinity};

    pub(crate) fn allowed() -> Option<Vec<usize>> {
        let set = sched_getaffinity(None).ok()?;
        Some((0..CpuSet::MAX_CPU).filter(|core| set.is_set(*core)).collect())
    }

    pub(crate) fn restrict(cores: &[usize]) -> Result<(), AffinityError> {
        let most = CpuSet::MAX_CPU - 1;
        let mut set = CpuSet::new();
        for core in cores {
            if *core > most {
                return Err(AffinityError::Range { core: *core, most });
            }
            set.set(*core);
        }
        let refuse =
            |error: rustix::io::Errno| AffinityError::Refused { cores: cores.to_vec(), reason: error.to_string() };
        sched_setaffinity(None, &set).map_err(refuse)
    }
}

#[cfg(not(target_os = "linux"))]
mod system {
    use super::AffinityError;

    pub(crate) fn allowed() -> Option<Vec<usize>> {
        None
    }

    pub(crate) fn restrict(cores: &[usize]) -> Result<(), AffinityError> {
        Err(AffinityError::Refused { cores: cores.to_vec(), reason: "it has no call for that".into() })
    }
}

#[cfg(all(test, target_os = "linux"))]
mod tests {
    use super::*;

    /// Runs work in a separate thread, with which the restriction ends.
    fn apart<T: Send>(work: impl FnOnce() -> T + Send) -> T {
        std::thread::scope(|scope| scope.spawn(work).join().unwrap())
    }

    #[test]
    fn a_thread_stays_where_it_was_put() {
        apart(|| {
            let core = *allowed_cores().unwrap().last().unwrap();
            restrict_to(&[core]).unwrap();
            assert_eq!(allowed_cores(), Some(vec![core]));
            assert_eq!(apart(allowed_cores), Some(vec![core]));
        });
    }

    #[test]
    fn cores_that_are_not_there() {
        apart(|| {
            let here = allowed_cores().unwrap();
            assert!(matches!(restrict_to(&[]), Err(AffinityError::Empty)));
            assert!(matches!(restrict_to(&[5000]), Err(AffinityError::Range { core: 5000, .. })));
            assert!(matches!(restrict_to(&[1000]), Err(AffinityError::Refused { .. })));
            let error = restrict_to(&[here[0], 1000]).unwrap_err().to_string();
            assert!(error.contains("the cores"), "{error}");
        });
    }
}
