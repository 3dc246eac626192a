# Run by child-group.hcl.
pipeline "grouped" {
  concurrency {
    group = "one"
  }
  module "m" {
    command = ["true"]
  }
}
