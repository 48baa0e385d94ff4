//! Camera formats against ffmpeg's conversion, where it is installed.

use causalclipseg::frame::{CameraFormat, CameraLayout};
use std::io::Write;
use std::process::{Command, Stdio};

/// ffmpeg's conversion of one raw frame; halved chroma is repeated, as in ours.
fn ffmpeg([from, to]: [&str; 2], [width, height]: [usize; 2], pixels: &[u8]) -> Option<Vec<u8>> {
    let size = format!("{width}x{height}");
    let scale = "scale=flags=neighbor+accurate_rnd+full_chroma_int+full_chroma_inp";
    let read = ["-v", "error", "-f", "rawvideo", "-pix_fmt", from, "-s", &size, "-i", "-", "-vf", scale];
    let write = ["-frames:v", "1", "-f", "rawvideo", "-pix_fmt", to, "-"];
    let pipes = |command: &mut Command| command.stdin(Stdio::piped()).stdout(Stdio::piped()).spawn();
    let mut child = pipes(Command::new("ffmpeg").args(read).args(write)).ok()?;
    child.stdin.take()?.write_all(pixels).ok()?;
    let output = child.wait_with_output().ok()?;
    output.status.success().then_some(output.stdout)
}

#[test]
fn as_ffmpeg_converts() {
    if ffmpeg(["gray", "gray"], [2, 2], &[0; 4]).is_none() {
        println!("skipped: ffmpeg is not installed");
        return;
    }
    // With odd sides, ffmpeg stretches chroma over the picture and repeats nothing.
    for [width, height] in [[64, 48], [66, 50], [2, 2]] {
        let shade =
            |at: usize| [40 + at % width, 60 + at / width * 2, 230 - at % width - at / width].map(|value| value as u8);
        let rgb: Vec<u8> = (0..width * height).flat_map(shade).collect();
        for (format, name) in [
            (CameraFormat::Nv12, "nv12"),
            (CameraFormat::I420, "yuv420p"),
            (CameraFormat::Yuyv, "yuyv422"),
            (CameraFormat::Uyvy, "uyvy422"),
            (CameraFormat::Bgr24, "bgr24"),
        ] {
            let camera = ffmpeg(["rgb24", name], [width, height], &rgb).unwrap();
            let expected = ffmpeg([name, "rgb24"], [width, height], &camera).unwrap();
            let layout = CameraLayout::new(format, width, height, format.row_bytes(width)).unwrap();
            assert_eq!(camera.len(), layout.frame_bytes(), "{name} {width} x {height}");
            let mut found = vec![0; width * height * 3];
            layout.convert(&camera, &mut found).unwrap();
            let worst = found.iter().zip(&expected).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(worst <= Some(1), "{name} {width} x {height}: {worst:?}");
            // The colours are correct: ffmpeg's own inverse conversion differs from the picture as much as ours.
            let back = found.iter().zip(&rgb).map(|(a, b)| a.abs_diff(*b)).max();
            assert!(back <= Some(6), "{name} {width} x {height}: {back:?}");
        }
    }
}
