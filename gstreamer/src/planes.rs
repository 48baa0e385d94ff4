//! Where the planes of a picture are in a buffer.

use gst_video::{VideoInfo, VideoMeta};

/// Why the planes of a buffer are not usable.
#[derive(Clone, Debug, PartialEq, thiserror::Error)]
pub(crate) enum PlanesError {
    #[error(
        "the buffer's video meta says {meta_width} x {meta_height} pixels and the caps {width} x {height}: the element before \
         this one contradicts itself"
    )]
    Meta { meta_width: u32, meta_height: u32, width: u32, height: u32 },
    #[error("plane {plane} has a stride of {stride_bytes} bytes: pictures stored from the bottom up are not supported")]
    Stride { plane: usize, stride_bytes: i32 },
    #[error("plane {plane} begins at byte {offset} of a buffer of {size}: the buffer is too small for its format")]
    Offset { plane: usize, offset: usize, size: usize },
}

/// The first byte of each plane in its buffer, and the bytes from row to row.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) struct Planes {
    count: usize,
    offsets: [usize; 4],
    strides_bytes: [usize; 4],
}

impl Planes {
    /// Reads them from the buffer's video meta; without one, from the caps.
    pub(crate) fn of(buffer: &gst::BufferRef, info: &VideoInfo) -> Result<Self, PlanesError> {
        match buffer.meta::<VideoMeta>() {
            Some(meta) => {
                let (width, height) = (info.width(), info.height());
                if (meta.width(), meta.height()) != (width, height) {
                    let (meta_width, meta_height) = (meta.width(), meta.height());
                    return Err(PlanesError::Meta { meta_width, meta_height, width, height });
                }
                Self::new(meta.offset(), meta.stride(), buffer.size())
            }
            None => Self::new(info.offset(), info.stride(), buffer.size()),
        }
    }

    fn new(offsets: &[usize], strides: &[i32], size: usize) -> Result<Self, PlanesError> {
        let mut planes = Self { count: 0, offsets: [0; 4], strides_bytes: [0; 4] };
        for (plane, (&offset, &stride_bytes)) in offsets.iter().zip(strides).take(4).enumerate() {
            if offset > size {
                return Err(PlanesError::Offset { plane, offset, size });
            }
            planes.offsets[plane] = offset;
            planes.strides_bytes[plane] =
                usize::try_from(stride_bytes).map_err(|_| PlanesError::Stride { plane, stride_bytes })?;
            planes.count = plane + 1;
        }
        Ok(planes)
    }

    /// The index of a byte in the buffer.
    pub(crate) fn at(&self, plane: usize, row: usize, byte: usize) -> usize {
        self.offsets[plane].saturating_add(row.saturating_mul(self.strides_bytes[plane])).saturating_add(byte)
    }

    pub(crate) fn stride_bytes(&self, plane: usize) -> usize {
        self.strides_bytes[plane]
    }

    /// The bytes of the buffer from a plane's first one on.
    pub(crate) fn bytes<'a>(&self, plane: usize, buffer: &'a [u8]) -> &'a [u8] {
        buffer.get(self.offsets[plane]..).unwrap_or_default()
    }

    pub(crate) fn count(&self) -> usize {
        self.count
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use gst_video::{VideoFormat, VideoFrameFlags};

    fn info() -> VideoInfo {
        gst::init().unwrap();
        VideoInfo::builder(VideoFormat::Nv12, 6, 4).build().unwrap()
    }

    #[test]
    fn caps_have_the_default_layout() {
        let info = info();
        let buffer = gst::Buffer::with_size(info.size()).unwrap();
        let planes = Planes::of(&buffer, &info).unwrap();
        assert_eq!((planes.count(), planes.stride_bytes(0), planes.at(1, 1, 2)), (2, 8, 8 * 4 + 8 + 2));
    }

    #[test]
    fn metas_are_followed_and_checked() {
        let info = info();
        let add = |width, offsets: &[usize], strides: &[i32]| {
            let mut buffer = gst::Buffer::with_size(200).unwrap();
            let writable = buffer.get_mut().unwrap();
            VideoMeta::add_full(writable, VideoFrameFlags::empty(), VideoFormat::Nv12, width, 4, offsets, strides)
                .unwrap();
            Planes::of(&buffer, &info)
        };
        let planes = add(6, &[5, 100], &[20, 21]).unwrap();
        assert_eq!((planes.at(0, 2, 1), planes.at(1, 1, 0)), (46, 121));
        assert!(matches!(add(5, &[5, 100], &[20, 21]), Err(PlanesError::Meta { .. })));
        assert_eq!(add(6, &[0, 100], &[20, -20]), Err(PlanesError::Stride { plane: 1, stride_bytes: -20 }));
        assert_eq!(add(6, &[0, 201], &[20, 20]), Err(PlanesError::Offset { plane: 1, offset: 201, size: 200 }));
    }
}
