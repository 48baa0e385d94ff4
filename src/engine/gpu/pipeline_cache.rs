//! Compiled shaders, kept in a file between runs where the backend supports it: so far only Vulkan.

use super::context::GpuContext;
use crate::bundle::Sha256;
use causalclipseg_bundle::replace_file;
use std::fs::File;
use std::io::{Read, Write};
use std::path::{Path, PathBuf};
use std::sync::Arc;

/// The first bytes of a file; the SHA-256 sum of the content follows them.
const MAGIC: &[u8; 8] = b"CCSPIPE1";
const SUM_BYTES: usize = 32;
/// The size limit of a file: a larger one was not written by this program.
const MOST_BYTES: u64 = 64 << 20;

/// A cache of compiled shaders, and the path of its file.
pub(super) struct PipelineCache {
    gpu: Arc<GpuContext>,
    cache: wgpu::PipelineCache,
    file: PathBuf,
    /// The content of the file.
    loaded: Option<Vec<u8>>,
}

/// Opens the cache of a device in a folder. `None` where the backend keeps nothing, or there is no folder. A file that
/// is damaged, too large, or writable by other users is ignored, and replaced in the end.
pub(super) fn load(gpu: &Arc<GpuContext>, folder: Option<&Path>) -> Option<PipelineCache> {
    let folder = folder.filter(|_| gpu.adapter.pipeline_cache)?;
    let key = wgpu::util::pipeline_cache_key(&gpu.device.adapter_info())?;
    let file = folder.join(format!("{key}.bin"));
    let loaded = read(&file);
    let opened = gpu.guarded("open the cache of shaders", || {
        let descriptor =
            wgpu::PipelineCacheDescriptor { label: Some("shaders"), data: loaded.as_deref(), fallback: true };
        #[expect(unsafe_code, reason = "a driver trusts the bytes that it is given")]
        // SAFETY: the data have to be what `get_data` returned before. They come from a file that
        // [`PipelineCache::store`] wrote completely, under the key of this adapter, and whose sum shows that no bit has
        // changed since; wgpu compares version, adapter and driver before the driver reads the data, and starts with an
        // empty cache where they differ. Whoever can forge the sum can write to the folder of the user who runs this
        // program; files that others can write are refused above.
        let cache = unsafe { gpu.device.create_pipeline_cache(&descriptor) };
        Ok(cache)
    });
    match opened {
        Ok(cache) => Some(PipelineCache { gpu: gpu.clone(), cache, file, loaded }),
        Err(error) => {
            log::info!("shaders are compiled again: {error}");
            None
        }
    }
}

/// A file's content, if it is complete and unchanged.
fn read(path: &Path) -> Option<Vec<u8>> {
    let file = File::open(path).ok()?;
    let metadata = file.metadata().ok().filter(|metadata| metadata.is_file() && metadata.len() <= MOST_BYTES)?;
    #[cfg(unix)]
    {
        use std::os::unix::fs::PermissionsExt;
        const OTHERS_WRITE: u32 = 0o022;
        if metadata.permissions().mode() & OTHERS_WRITE != 0 {
            log::info!("{} is writable by other users and is not used", path.display());
            return None;
        }
    }
    let mut bytes = Vec::new();
    file.take(metadata.len()).read_to_end(&mut bytes).ok()?;
    let rest = bytes.strip_prefix(MAGIC)?;
    let (sum, content) = rest.split_at_checked(SUM_BYTES)?;
    (Sha256::of(content).0 == sum).then(|| content.to_vec())
}

impl PipelineCache {
    pub(crate) fn pipelines(&self) -> &wgpu::PipelineCache {
        &self.cache
    }

    /// Writes new shaders. A failure is not an error: shaders are compiled again.
    pub(crate) fn store(&self) {
        let content = self.gpu.guarded("read the cache of shaders", || Ok(self.cache.get_data()));
        let Some(content) = content.ok().flatten().filter(|content| Some(content) != self.loaded.as_ref()) else {
            return;
        };
        if let Some(folder) = self.file.parent() {
            // A failure shows when the file is written.
            let _ = std::fs::create_dir_all(folder);
        }
        let written = replace_file(&self.file, |file| {
            file.write_all(MAGIC)?;
            file.write_all(&Sha256::of(&content).0)?;
            file.write_all(&content)
        });
        if let Err(error) = written {
            log::info!("compiled shaders are not kept: {error}");
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn file(content: &[u8], sum: [u8; 32]) -> Vec<u8> {
        [MAGIC.as_slice(), &sum, content].concat()
    }

    #[test]
    fn only_what_was_written_whole_is_read() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("cache.bin");
        assert_eq!(read(&path), None);
        let good = file(b"shaders", Sha256::of(b"shaders").0);
        std::fs::write(&path, &good).unwrap();
        assert_eq!(read(&path).unwrap(), b"shaders");
        for bad in [&good[..good.len() - 1], &good[..20], &[], b"CCSPIPE1", &file(b"shaderz", Sha256::of(b"shaders").0)]
        {
            std::fs::write(&path, bad).unwrap();
            assert_eq!(read(&path), None);
        }
        #[cfg(unix)]
        {
            use std::os::unix::fs::PermissionsExt;
            std::fs::write(&path, &good).unwrap();
            std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o666)).unwrap();
            assert_eq!(read(&path), None);
        }
    }
}
