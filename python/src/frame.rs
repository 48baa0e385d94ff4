//! One frame: its own copy of the caller's pixels, so that no lock is needed while the network runs on them.

use crate::failure;
use ::causalclipseg::frame::{FrameError, PixelFormat, Region};
use ::causalclipseg::io::source::FrameBuffer;
use numpy::ndarray::{ArrayView2, ArrayView3};
use numpy::{PyReadonlyArray2, PyReadonlyArray3, ToPyArray};
use pyo3::prelude::*;

/// Pixels in any order of memory.
#[derive(FromPyObject)]
pub(crate) enum Pixels<'py> {
    #[pyo3(transparent)]
    Gray8(PyReadonlyArray2<'py, u8>),
    #[pyo3(transparent)]
    Gray16(PyReadonlyArray2<'py, u16>),
    #[pyo3(transparent)]
    Rgb8(PyReadonlyArray3<'py, u8>),
}

#[pyclass(frozen, module = "causalclipseg._runtime")]
pub(crate) struct Frame(pub(crate) FrameBuffer);

#[pymethods]
impl Frame {
    #[new]
    #[pyo3(signature = (pixels, mm_per_pixel=None, region=None))]
    fn new(pixels: Pixels<'_>, mm_per_pixel: Option<[f32; 2]>, region: Option<[usize; 4]>) -> PyResult<Self> {
        let mut buffer = FrameBuffer::default();
        copy(&pixels, &mut buffer).map_err(|error| failure::of_frame(&error))?;
        set(&mut buffer, mm_per_pixel, region).map_err(|error| failure::of_frame(&error))?;
        Ok(Self(buffer))
    }

    /// The same frame with what the caller knows better than its file.
    #[pyo3(signature = (mm_per_pixel=None, region=None))]
    fn with_options(&self, mm_per_pixel: Option<[f32; 2]>, region: Option<[usize; 4]>) -> PyResult<Self> {
        let mut buffer = self.0.clone();
        set(&mut buffer, mm_per_pixel, region).map_err(|error| failure::of_frame(&error))?;
        Ok(Self(buffer))
    }

    /// Height x width of 8 or 16 bits, or height x width x 3.
    #[getter]
    fn pixels<'py>(&self, py: Python<'py>) -> PyResult<Bound<'py, PyAny>> {
        let frame = self.0.frame().map_err(|error| failure::of_frame(&error))?;
        let (height, width, bytes) = (frame.height(), frame.width(), self.0.pixels());
        let wrong = |error: numpy::ndarray::ShapeError| failure::other(error.to_string());
        Ok(match frame.format() {
            PixelFormat::Gray16Le => {
                let values: Vec<u16> = bytes.as_chunks().0.iter().map(|pair| u16::from_le_bytes(*pair)).collect();
                ArrayView2::from_shape((height, width), &values).map_err(wrong)?.to_pyarray(py).into_any()
            }
            PixelFormat::Gray8 => {
                ArrayView2::from_shape((height, width), bytes).map_err(wrong)?.to_pyarray(py).into_any()
            }
            format => ArrayView3::from_shape((height, width, format.bytes_per_pixel()), bytes)
                .map_err(wrong)?
                .to_pyarray(py)
                .into_any(),
        })
    }

    /// Height and width, in pixels.
    #[getter]
    fn shape(&self) -> PyResult<(usize, usize)> {
        let frame = self.0.frame().map_err(|error| failure::of_frame(&error))?;
        Ok((frame.height(), frame.width()))
    }

    /// x, y, width and height, in pixels.
    #[getter]
    fn region(&self) -> PyResult<(usize, usize, usize, usize)> {
        let frame = self.0.frame().map_err(|error| failure::of_frame(&error))?;
        let Region { x, y, width, height } = frame.region();
        Ok((x, y, width, height))
    }

    #[getter]
    fn mm_per_pixel(&self) -> PyResult<Option<(f32, f32)>> {
        let frame = self.0.frame().map_err(|error| failure::of_frame(&error))?;
        Ok(frame.mm_per_pixel().map(Into::into))
    }

    /// EXIF's number, 1 to 8.
    #[getter]
    fn orientation(&self) -> u8 {
        self.0.orientation.to_exif()
    }

    #[getter]
    fn timestamp_s(&self) -> Option<f64> {
        self.0.timestamp_s
    }

    #[getter]
    fn valid(&self) -> bool {
        self.0.valid
    }
}

fn set(buffer: &mut FrameBuffer, mm_per_pixel: Option<[f32; 2]>, region: Option<[usize; 4]>) -> Result<(), FrameError> {
    if let Some(mm_per_pixel) = mm_per_pixel {
        buffer.set_mm_per_pixel(mm_per_pixel)?;
    }
    if let Some([x, y, width, height]) = region {
        buffer.set_region(Region { x, y, width, height })?;
    }
    Ok(())
}

fn copy(pixels: &Pixels<'_>, buffer: &mut FrameBuffer) -> Result<(), FrameError> {
    match pixels {
        Pixels::Gray8(array) => {
            let view = array.as_array();
            let to = buffer.reset(PixelFormat::Gray8, view.ncols(), view.nrows())?;
            to.iter_mut().zip(view.iter()).for_each(|(to, from)| *to = *from);
        }
        Pixels::Gray16(array) => {
            let view = array.as_array();
            let to = buffer.reset(PixelFormat::Gray16Le, view.ncols(), view.nrows())?;
            to.as_chunks_mut().0.iter_mut().zip(view.iter()).for_each(|(to, from)| *to = from.to_le_bytes());
        }
        Pixels::Rgb8(array) => {
            // A fourth channel is left out.
            let view = array.as_array();
            let (height, width, _) = view.dim();
            let to = buffer.reset(PixelFormat::Rgb8, width, height)?;
            for (to, from) in to.as_chunks_mut::<3>().0.iter_mut().zip(view.rows()) {
                to.iter_mut().zip(from).for_each(|(to, from)| *to = *from);
            }
        }
    }
    Ok(())
}
