//! Load generator: calls the service in a closed loop or at a fixed rate, and reports the results.
//!
//! The plan is read from standard input, and the report is written to standard output, each as one JSON object.

mod connection;
mod driver;
mod http;
mod lane;
mod outcome;
mod plan;
mod socket;
mod verdict;
mod workload;

use std::io::{self, Read};
use std::net::TcpStream;
use std::process::ExitCode;

use driver::Driver;
use plan::Plan;

fn main() -> ExitCode {
    match run() {
        Ok(report) => {
            println!("{report}");
            ExitCode::SUCCESS
        }
        Err(problem) => {
            eprintln!("load: {problem}");
            ExitCode::FAILURE
        }
    }
}

fn run() -> Result<String, String> {
    let mut text = String::new();
    io::stdin().read_to_string(&mut text).map_err(|error| format!("the plan: {error}"))?;
    let plan = Plan::read(&text)?;
    for lane in &plan.lanes {
        TcpStream::connect(lane.address).map_err(|error| format!("lane {}: {}: {error}", lane.name, lane.address))?;
    }
    let report = Driver::new(plan).and_then(Driver::run).map_err(|error| error.to_string())?;
    serde_json::to_string(&report).map_err(|error| error.to_string())
}
