# run: invalid
# rules: runs 10
# error: invalid cron expression "0 99 * * *"
# error: invalid cron expression "H(0-70) 3 * * *": minute "H(0-70)": expected a range within 0-59
# error: no time zone is called "Mars/Olympus"
# error: overlap: invalid value
# error: second concurrency block
pipeline "schedule-mistakes" {
  schedule {
    cron     = ["0 99 * * *", "H(0-70) 3 * * *"]
    timezone = "Mars/Olympus"
    overlap  = "perhaps"
  }
  concurrency {
    group = "a"
  }
  concurrency {
    group = "b"
  }
  module "a" {
    command = ["true"]
  }
}
