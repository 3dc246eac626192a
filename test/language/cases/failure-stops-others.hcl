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
    script = "exit 2"
  }
  module "b" {
    command = ["sleep", "3"] # a has failed long before it ends
  }
  module "c" {
    depends_on = [module.b]
    command    = ["true"]
  }
}
