# run: failed
# rules: 5
# a: failed "timed out after 300ms"
pipeline "timeout" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    command = ["sleep", "60"]
    timeout = "300ms"
    grace   = "1s"
  }
}
