# run: failed
# rules: 6
# a: failed "no output for 300ms"
# b: succeeded
pipeline "idle_timeout" {
  workspace {
    exclude = ["**"]
  }
  on_failure = "continue"
  module "a" {
    command      = ["sleep", "60"]
    idle_timeout = "300ms"
    grace        = "1s"
  }
  module "b" {
    script       = "for i in 1 2 3 4 5; do echo $i; sleep 0.1; done"
    idle_timeout = "5s"
  }
}
