# run: failed
# rules: 5
# cluster
# a: cancelled
# b: cancelled
pipeline "requires_missing_tag" {
  workspace {
    exclude = ["**"]
  }
  timeout = "1s"
  module "b" {
    command = ["sleep", "60"]
    grace   = "1s"
  }
  module "a" {
    requires = { tags = ["no-such-worker"] }
    command  = ["true"]
  }
}
