# run: succeeded
# rules: runs
# a: succeeded
# log a: now
pipeline "schedule-now" {
  workspace {
    exclude = ["**"]
  }
  schedule {
    cron     = ["0 3 * * 1-5", "@yearly", "H H(0-5) * * *"]
    timezone = "Europe/London"
    overlap  = "allow"
    catch_up = "none"
  }
  module "a" {
    command = ["echo", "now"]
  }
}
