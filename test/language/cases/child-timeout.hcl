# run: failed
# rules: 5 child
# sleeps: cancelled "the run exceeded its timeout of 1s"
pipeline "child-timeout" {
  timeout = "1s"
  module "sleeps" {
    pipeline = "lib/sleeps.hcl"
  }
}
