//! `causalclipseg serve`: the files of a folder over HTTP on this machine, for pages that run the model in the browser.

use super::Failure;
use super::http::{Reply, Request, Server, Site};
use super::interrupts::Interrupts;
use hyper::{Method, StatusCode};
use std::fs;
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::sync::Arc;
use std::thread;
use std::time::Duration;

/// How often the command looks for a signal.
const LOOK_AROUND: Duration = Duration::from_millis(50);
/// The largest file that is served, in bytes.
const MAX_FILE_BYTES: u64 = 256 << 20;

#[derive(clap::Args)]
pub(super) struct Arguments {
    /// Folder with index.html, such as causalclipseg-web
    #[arg(value_name = "FOLDER", default_value = "causalclipseg-web")]
    folder: PathBuf,
    /// Port on 127.0.0.1; 0 for any that is free
    #[arg(long, default_value_t = 8736, value_name = "PORT")]
    port: u16,
}

pub(super) fn run(arguments: &Arguments) -> Result<ExitCode, Failure> {
    let interrupts = Interrupts::listen()?;
    let folder = &arguments.folder;
    let root = fs::canonicalize(folder).ok().filter(|root| root.join("index.html").is_file()).ok_or_else(|| {
        format!("{} has no index.html; build the page with web/build, or give its folder", folder.display())
    })?;
    let server = Server::start(arguments.port, Arc::new(FolderSite { root }))?;
    super::say(server.url())?;
    loop {
        if let Some(signal) = interrupts.signal() {
            return Ok(signal.exit_code());
        }
        thread::sleep(LOOK_AROUND);
    }
}

struct FolderSite {
    /// Without links and dots.
    root: PathBuf,
}

impl FolderSite {
    /// The file of a path; `None` where it is outside of the folder, hidden, or not there.
    fn file(&self, path: &str) -> Option<PathBuf> {
        let path = path.strip_prefix('/')?;
        let name = if path.is_empty() { "index.html" } else { path };
        // Names as the page's build writes them; no empty ones, no `..`, no encoded or foreign separators.
        let is_plain = |part: &str| {
            !part.starts_with('.')
                && !part.is_empty()
                && part.bytes().all(|byte| byte.is_ascii_alphanumeric() || b"._-".contains(&byte))
        };
        if !name.split('/').all(is_plain) {
            return None;
        }
        // A link may lead out of the folder.
        fs::canonicalize(self.root.join(name)).ok().filter(|file| file.starts_with(&self.root) && file.is_file())
    }

    fn read(&self, path: &str) -> Reply {
        let Some(file) = self.file(path) else {
            return Reply::refusal(StatusCode::NOT_FOUND, "there is no such file");
        };
        match fs::metadata(&file) {
            Ok(about) if about.len() > MAX_FILE_BYTES => {
                let reason = format!("the file has more than {MAX_FILE_BYTES} bytes");
                Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, reason)
            }
            _ => match fs::read(&file) {
                Ok(bytes) => Reply::new(content_type(&file), bytes),
                Err(error) => Reply::refusal(StatusCode::INTERNAL_SERVER_ERROR, error.to_string()),
            },
        }
    }
}

impl Site for FolderSite {
    async fn answer(&self, request: Request) -> Reply {
        if request.method != Method::GET {
            return Reply::refusal(StatusCode::METHOD_NOT_ALLOWED, "use GET");
        }
        self.read(&request.path)
    }
}

/// The type of a file by its name; browsers run scripts and modules only with the right one.
fn content_type(file: &Path) -> &'static str {
    match file.extension().and_then(|extension| extension.to_str()) {
        Some("html") => "text/html; charset=utf-8",
        Some("css") => "text/css; charset=utf-8",
        Some("js" | "mjs") => "text/javascript; charset=utf-8",
        Some("json" | "webmanifest") => "application/json",
        Some("wasm") => "application/wasm",
        Some("png") => "image/png",
        Some("svg") => "image/svg+xml",
        _ => "application/octet-stream",
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_files_of_the_folder_are_served() {
        let folder = tempfile::tempdir().unwrap();
        let root = folder.path().canonicalize().unwrap();
        let inside = root.join("site");
        fs::create_dir_all(inside.join("sub")).unwrap();
        fs::write(root.join("secret.txt"), "secret").unwrap();
        fs::write(inside.join("index.html"), "page").unwrap();
        fs::write(inside.join("sub/model.ccs"), "model").unwrap();
        fs::write(inside.join(".hidden"), "hidden").unwrap();
        #[cfg(unix)]
        std::os::unix::fs::symlink(root.join("secret.txt"), inside.join("link.txt")).unwrap();
        let site = FolderSite { root: inside };
        let read = |path: &str| {
            let reply = site.read(path);
            (reply.status.as_u16(), reply.content_type, reply.body)
        };
        assert_eq!(read("/"), (200, "text/html; charset=utf-8", "page".into()));
        assert_eq!(read("/sub/model.ccs"), (200, "application/octet-stream", "model".into()));
        for path in [
            "/../secret.txt",
            "/sub/../../secret.txt",
            "/link.txt",
            "/.hidden",
            "/%2e%2e/secret.txt",
            "/sub",
            "/sub/",
            "//index.html",
            "/none",
            "",
        ] {
            assert_eq!(read(path).0, 404, "{path}");
        }
    }
}
