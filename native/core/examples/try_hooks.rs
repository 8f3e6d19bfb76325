//! Tries every hook of every tracer on this machine, then traces one HTTP request of its own and prints it.
//!
//! `try_hooks OBJECTS`, where OBJECTS is the folder with the kernel programs (`make ebpf` leaves them in `build/`). The
//! core without Python: linked statically it runs where nothing else is installed. Ends with 1 where something fails.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::path::{Path, PathBuf};
use std::process::ExitCode;
use std::time::{Duration, Instant};

use universal_tracer_core::decode::{DecodeSettings, PrivacySettings};
use universal_tracer_core::error::Result;
use universal_tracer_core::functions::Scope;
use universal_tracer_core::json;
use universal_tracer_core::session::HttpSession;
use universal_tracer_core::settings::{Filter, HttpSettings};
use universal_tracer_core::stack::StackSettings;
use universal_tracer_core::stack::trial::try_stack;
use universal_tracer_core::trial::{Trial, try_http};
use universal_tracer_core::xdp::settings::XdpSettings;
use universal_tracer_core::xdp::trial::try_xdp;

const REQUEST: &[u8] = b"GET /tried?by=itself HTTP/1.1\r\nHost: localhost\r\n\r\n";
const RESPONSE: &[u8] = b"HTTP/1.1 204 No Content\r\n\r\n";
const PATIENCE: Duration = Duration::from_secs(30);
const RING_BYTES: u32 = 1 << 20;

fn main() -> ExitCode {
    let Some(folder) = std::env::args_os().nth(1).map(PathBuf::from) else {
        eprintln!("usage: try_hooks OBJECTS");
        return ExitCode::from(2);
    };
    let tried = [
        tell("http", try_http(http_settings(&folder))),
        tell("stack", try_stack(stack_settings(&folder))),
        tell("xdp", try_xdp(xdp_settings(&folder))),
    ];
    let seen = trace_a_request(&folder).unwrap_or_else(|error| {
        println!("request: {error}");
        false
    });
    ExitCode::from(u8::from(!(seen && tried.iter().all(|works| *works))))
}

/// Prints a line for each hook; whether all work.
fn tell(tracer: &str, trial: Result<Trial>) -> bool {
    let trial = match trial {
        Ok(trial) => trial,
        Err(error) => {
            println!("{tracer}: {error}");
            return false;
        }
    };
    for tried in &trial.hooks {
        let outcome = tried
            .error
            .as_ref()
            .map_or_else(|| "ok".to_owned(), |error| format!("{error}"));
        println!(
            "{tracer} {} by {}: {outcome}",
            tried.hook.hook, tried.hook.adapter
        );
    }
    println!("{tracer}: the programs have run: {}", trial.has_run);
    trial.has_run && trial.hooks.iter().all(|tried| tried.error.is_none())
}

/// Prints both sides of a request as JSON; whether both were seen.
fn trace_a_request(folder: &Path) -> Result<bool> {
    let settings = HttpSettings {
        filter: own_process(),
        ..http_settings(folder)
    };
    let mut session = HttpSession::new(settings)?;
    session.attach()?;
    if let Err(error) = exchange() {
        println!("request: {error}");
        return Ok(false);
    }
    let until = Instant::now() + PATIENCE;
    let mut sides = 0;
    while sides < 2 && Instant::now() < until {
        if let Some(batch) = session.tick(Duration::from_millis(100))?.decoded.http {
            sides += batch.num_rows();
            let mut lines = Vec::new();
            match json::write_rows(&batch, &mut lines) {
                Ok(()) => print!("{}", String::from_utf8_lossy(&lines)),
                Err(error) => println!("request: {error}"),
            }
        }
    }
    session.stop()?;
    Ok(sides == 2)
}

/// A server and a client in two threads.
fn exchange() -> std::io::Result<()> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let server = std::thread::spawn(move || -> std::io::Result<()> {
        let (mut connection, _) = listener.accept()?;
        connection.read_exact(&mut [0; REQUEST.len()])?;
        connection.write_all(RESPONSE)
    });
    let mut client = TcpStream::connect(address)?;
    client.write_all(REQUEST)?;
    client.read_exact(&mut [0; RESPONSE.len()])?;
    server.join().unwrap_or(Ok(()))
}

fn own_process() -> Filter {
    Filter {
        enabled: true,
        pids: vec![std::process::id()],
        ..Filter::default()
    }
}

fn http_settings(folder: &Path) -> HttpSettings {
    HttpSettings {
        object_path: folder.join("http_tracer.o"),
        filter: Filter::default(),
        local_addresses: None,
        net_namespace: 0,
        max_payload_size: 4096,
        sampling_rate: 1.0,
        ring_bytes: RING_BYTES,
        cpu_percent: None,
        decode: DecodeSettings::default(),
    }
}

fn stack_settings(folder: &Path) -> StackSettings {
    StackSettings {
        object_path: folder.join("stack_tracer.o"),
        filter: Filter::default(),
        samples: true,
        frequency_hz: 99,
        functions: Vec::new(),
        scope: Scope::default(),
        call_events: false,
        kernel_stacks: true,
        user_stacks: true,
        mixed_stacks: true,
        by_tables: true,
        off_cpu: true,
        max_depth: 127,
        stacks_held: 1024,
        interval: Duration::from_secs(1),
        privacy: PrivacySettings::default(),
        ring_bytes: RING_BYTES,
        keep: None,
        call_ring_bytes: RING_BYTES,
    }
}

fn xdp_settings(folder: &Path) -> XdpSettings {
    XdpSettings {
        object_path: folder.join("xdp_tracer.o"),
        interfaces: vec!["lo".to_owned()],
        processes: Vec::new(),
        waits: false,
        mode: None,
        egress: true,
        flow_table_size: 1024,
        flow_timeout: Duration::from_secs(300),
        sampling: 1,
        filter: Filter::default(),
        expression: None,
        detect_payload: true,
        track_flows: true,
        packet_events: true,
        capture_bytes: 0,
        privacy: PrivacySettings::default(),
        is_watched: false,
        interval: Duration::from_secs(1),
        ring_bytes: RING_BYTES,
    }
}
