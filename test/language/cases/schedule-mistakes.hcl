# run: invalid
# rules: runs 10
# error: invalid cron expression "0 99 * * *"
# error: no time zone is called "Mars/Olympus"
# error: overlap: invalid value
# error: second concurrency block
pipeline "schedule-mistakes" {
  schedule {
    cron     = "0 99 * * *"
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
