//! With the feature `otel`, spans reach a collector: as protobuf over HTTP, which is read here as far as it
//! takes to tell one span from another.

#![expect(clippy::expect_used, reason = "a test fails by panicking")]

use std::{
    io::{BufRead, BufReader, Read, Write},
    net::{TcpListener, TcpStream},
    sync::{Arc, Mutex},
    time::{Duration, Instant},
};

use amoiq_testkit::{AppLauncher, SECRET_KEY, TestApp, eventually, metric_value, scrape};
use reqwest::Method;

const TRACE: &str = "4bf92f3577b34da6a3ce929d0e0e4736";
const CALLER: &str = "00f067aa0ba902b7";

/// A collector that answers, or only listens.
struct Collector {
    address: String,
    bodies: Arc<Mutex<Vec<Vec<u8>>>>,
}

/// What the collector was told.
#[derive(Debug, PartialEq, Eq)]
struct Span {
    service: String,
    trace: String,
    parent: String,
    name: String,
    kind: u64,
}

impl Collector {
    fn start(answers: bool) -> Self {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let address = format!("http://{}", listener.local_addr().expect("an address"));
        let bodies = Arc::new(Mutex::new(Vec::new()));
        let keep = Arc::clone(&bodies);
        std::thread::spawn(move || {
            let mut held = Vec::new();
            for stream in listener.incoming().map_while(Result::ok) {
                if answers {
                    let keep = Arc::clone(&keep);
                    std::thread::spawn(move || take(&stream, &keep));
                } else {
                    held.push(stream);
                }
            }
        });
        Self { address, bodies }
    }

    fn app(&self) -> TestApp {
        let start = AppLauncher::new().environment("OTEL_EXPORTER_OTLP_ENDPOINT", &self.address);
        // Soon, so that nobody waits for it.
        start
            .environment("OTEL_BSP_SCHEDULE_DELAY", "50")
            .environment("AMOIQ__LOG__LEVEL", "info,amoiq::http=debug")
            .start()
    }

    fn spans(&self) -> Vec<Span> {
        self.bodies.lock().expect("a lock").iter().flat_map(|body| spans(body)).collect()
    }
}

/// Takes requests of a connection until it ends.
fn take(stream: &TcpStream, keep: &Mutex<Vec<Vec<u8>>>) {
    let mut reader = BufReader::new(stream);
    loop {
        let mut length = 0;
        loop {
            let mut line = String::new();
            if reader.read_line(&mut line).unwrap_or(0) == 0 {
                return;
            }
            if let Some(value) = line.to_ascii_lowercase().strip_prefix("content-length:") {
                length = value.trim().parse().expect("a number");
            }
            if line.trim().is_empty() {
                break;
            }
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).expect("a body");
        keep.lock().expect("a lock").push(body);
        let mut stream = stream;
        stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 0\r\n\r\n").expect("answered");
    }
}

/// The fields of a protobuf message: number and bytes, or the number that is there for bytes.
fn fields(mut message: &[u8]) -> Vec<(u64, &[u8], u64)> {
    let mut all = Vec::new();
    while !message.is_empty() {
        let key = varint(&mut message);
        let (bytes, number) = match key & 7 {
            0 => (0, varint(&mut message)),
            1 => (8, 0),
            2 => (varint(&mut message), 0),
            5 => (4, 0),
            kind => panic!("no kind of a field: {kind}"),
        };
        let (bytes, rest) = message.split_at(usize::try_from(bytes).expect("a length"));
        message = rest;
        all.push((key >> 3, bytes, number));
    }
    all
}

fn varint(message: &mut &[u8]) -> u64 {
    let mut number = 0;
    for place in 0.. {
        let (first, rest) = message.split_first().expect("a byte");
        *message = rest;
        number |= u64::from(first & 0x7f) << (7 * place);
        if first & 0x80 == 0 {
            break;
        }
    }
    number
}

/// The fields of a number in a message.
fn of(message: &[u8], number: u64) -> impl Iterator<Item = &[u8]> {
    fields(message).into_iter().filter(move |field| field.0 == number).map(|field| field.1)
}

/// `ExportTraceServiceRequest` of opentelemetry-proto, trace/v1.
fn spans(request: &[u8]) -> Vec<Span> {
    let hexadecimal = |bytes: &[u8]| bytes.iter().map(|byte| format!("{byte:02x}")).collect::<String>();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let mut all = Vec::new();
    for resource_spans in of(request, 1) {
        let attributes = of(resource_spans, 1).flat_map(|resource| of(resource, 1));
        let mut named = attributes.filter(|pair| of(pair, 1).any(|key| key == b"service.name"));
        let service = named.find_map(|pair| of(pair, 2).flat_map(|value| of(value, 1)).next());
        for span in of(resource_spans, 2).flat_map(|scope| of(scope, 2)) {
            let field = |number| of(span, number).next().unwrap_or_default();
            all.push(Span {
                service: service.map(text).unwrap_or_default(),
                trace: hexadecimal(field(1)),
                parent: hexadecimal(field(4)),
                name: text(field(5)),
                kind: fields(span).iter().find(|field| field.0 == 6).map_or(0, |field| field.2),
            });
        }
    }
    all
}

fn ask(app: &TestApp, id: &str, traceparent: Option<&str>) {
    let request =
        app.request(Method::GET, "/api/chat/online-users").bearer_auth(SECRET_KEY).header("X-Request-Id", id);
    let request = match traceparent {
        Some(value) => request.header("traceparent", value),
        None => request,
    };
    assert_eq!(request.send().expect("an answer").status(), 200);
}

#[test]
fn a_request_is_a_span_of_the_trace_that_it_came_with() {
    let collector = Collector::start(true);
    let app = collector.app();
    ask(&app, "with-a-trace", Some(&format!("00-{TRACE}-{CALLER}-01")));
    eventually("it is collected", || !collector.spans().is_empty());
    let expected = Span {
        service: "amoiq".to_owned(),
        trace: TRACE.to_owned(),
        parent: CALLER.to_owned(),
        name: "GET /api/chat/online-users".to_owned(),
        // SPAN_KIND_SERVER
        kind: 2,
    };
    assert_eq!(collector.spans(), [expected]);
}

#[test]
fn a_trace_that_begins_here_has_no_parent_and_is_the_one_that_the_lines_name() {
    let collector = Collector::start(true);
    let app = collector.app();
    ask(&app, "without-a-trace", None);
    eventually("it is collected", || !collector.spans().is_empty());
    let spans = collector.spans();
    assert_eq!((spans.len(), spans[0].parent.as_str(), spans[0].kind), (1, "", 2), "{spans:?}");
    let named = format!("\"trace.id\":\"{}\"", spans[0].trace);
    eventually("a line names the trace", || app.printed(&["without-a-trace", &named]));
}

#[test]
fn a_collector_that_hangs_does_not_hold_up_the_stop() {
    let collector = Collector::start(false);
    let mut app = collector.app();
    ask(&app, "lost", None);
    let stopping = Instant::now();
    let (status, _) = app.terminate();
    assert!(status.success());
    // Without sockets and deliveries a stop is done at once; the collector alone was given 5 s before.
    assert!(stopping.elapsed() < Duration::from_secs(3), "{:?}", stopping.elapsed());
}

#[test]
fn spans_that_the_collector_does_not_take_are_counted() {
    let scrape = |app: &TestApp, outcome: &str| {
        metric_value(&scrape(app), &format!("amoiq_spans_total{{outcome=\"{outcome}\"}}")).unwrap_or(0.0)
    };
    let collector = Collector::start(true);
    let app = collector.app();
    ask(&app, "taken", None);
    eventually("it is exported", || scrape(&app, "exported") >= 1.0);
    assert_eq!((scrape(&app, "failed"), scrape(&app, "dropped")), (0.0, 0.0));
    let hangs = Collector::start(false);
    let start = AppLauncher::new().environment("OTEL_EXPORTER_OTLP_ENDPOINT", &hangs.address);
    let app = start
        .environment("OTEL_BSP_SCHEDULE_DELAY", "50")
        .environment("OTEL_BSP_MAX_QUEUE_SIZE", "4")
        .environment("OTEL_BSP_MAX_EXPORT_BATCH_SIZE", "2")
        .environment("AMOIQ__LOG__LEVEL", "info,amoiq::http=debug")
        .start();
    eventually("the queue is full", || {
        ask(&app, "lost", None);
        scrape(&app, "dropped") >= 3.0
    });
}

#[test]
fn what_cannot_be_obeyed_is_refused_and_switched_off_is_off() {
    let collector = Collector::start(true);
    let directory = tempfile::tempdir().expect("a directory");
    let start = || AppLauncher::new().environment("OTEL_EXPORTER_OTLP_ENDPOINT", &collector.address);
    for (name, value) in [("OTEL_EXPORTER_OTLP_PROTOCOL", "grpc"), ("OTEL_EXPORTER_OTLP_COMPRESSION", "gzip")]
    {
        let output = start().data(directory.path()).environment(name, value).output();
        let said = String::from_utf8_lossy(&output.stderr).into_owned();
        assert!(!output.status.success() && said.contains(name) && said.contains(value), "{said}");
    }
    let mut app = start().environment("OTEL_SDK_DISABLED", "true").start();
    ask(&app, "untold", None);
    assert!(!scrape(&app).contains("amoiq_spans_total"));
    assert!(app.terminate().0.success());
    assert_eq!(collector.spans(), []);
}
