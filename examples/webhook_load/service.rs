//! The measured service, with its own data directory.

use std::{
    fmt::Write,
    net::SocketAddr,
    process::{Child, Command, Stdio},
    time::Duration,
};

use anyhow::{Context, ensure};
use tempfile::TempDir;
use tokio::{net::TcpStream, time::Instant};

use super::{Arguments, receiver::Receivers};

/// The time limit for the start of the service.
const PATIENCE: Duration = Duration::from_secs(20);

pub struct Service {
    process: Child,
    address: SocketAddr,
    _data: TempDir,
}

/// The widget key of a tenant.
pub fn key(tenant: usize) -> String {
    format!("wk_load_{tenant:08}")
}

impl Service {
    /// Starts the service with one endpoint for each tenant. The first endpoints never answer.
    pub fn start(arguments: &Arguments, receivers: &Receivers, black_holes: usize) -> anyhow::Result<Self> {
        let data = tempfile::tempdir()?;
        let address = std::net::TcpListener::bind("127.0.0.1:0")?.local_addr()?;
        let mut config = format!(
            "[server]\nbind = \"{address}\"\n[operator]\nbind = \"127.0.0.1:0\"\n[store]\npath = {:?}\n\
             [log]\nlevel = \"warn\"\n[rate_limit]\nhttp_per_minute = 0\n\
             [webhooks]\nallowed_networks = [\"127.0.0.0/8\"]\n",
            data.path().join("data")
        );
        for tenant in 0..arguments.tenants {
            let receiver = if tenant < black_holes { receivers.black_hole } else { receivers.healthy };
            write!(
                config,
                "[[tenants]]\nid = \"tenant-{tenant}\"\nwidget_keys = [{:?}]\n\
                 webhooks = [{{ url = \"http://{receiver}/{tenant}\", secret = \"whsec_MfKQ9r8GKYqrTwjUPD8ILPZIo2LaLaSw\" }}]\n",
                key(tenant)
            )?;
        }
        let file = data.path().join("config.toml");
        std::fs::write(&file, config)?;
        let process = Command::new(&arguments.program)
            .arg("--config")
            .arg(&file)
            .stdout(Stdio::null())
            .spawn()
            .with_context(|| arguments.program.display().to_string())?;
        Ok(Self { process, address, _data: data })
    }

    /// Waits until it listens.
    pub async fn ready(&self) -> anyhow::Result<()> {
        let deadline = Instant::now() + PATIENCE;
        while TcpStream::connect(self.address).await.is_err() {
            ensure!(Instant::now() < deadline, "the service does not listen");
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
        Ok(())
    }

    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// The memory that it uses.
    pub fn resident_kib(&self) -> anyhow::Result<u64> {
        let status = std::fs::read_to_string(format!("/proc/{}/status", self.process.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).context("VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse()?)
    }

    /// The processor time that it has used.
    pub fn processor_seconds(&self) -> anyhow::Result<f64> {
        let stat = std::fs::read_to_string(format!("/proc/{}/stat", self.process.id()))?;
        let fields: Vec<_> = stat.rsplit(") ").next().unwrap_or_default().split(' ').collect();
        let ticks = |index: usize| fields.get(index).and_then(|field| field.parse::<f64>().ok());
        // utime and stime, in hundredths of a second on every Linux.
        Ok((ticks(11).context("utime")? + ticks(12).context("stime")?) / 100.0)
    }
}

impl Drop for Service {
    fn drop(&mut self) {
        // The process may have ended already.
        let _ended = self.process.kill();
        let _reaped = self.process.wait();
    }
}
