# run: failed
# rules: 5
# a: failed
# b: succeeded
# c: skipped "not started because a failed"
pipeline "failure_stops_others" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = "sleep 0.2; exit 2"
  }
  module "b" {
    command = ["sleep", "0.6"]
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
