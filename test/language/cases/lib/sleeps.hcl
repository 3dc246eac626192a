# Run by child*.hcl.
pipeline "sleeps" {
  module "sleep" {
    command = ["sleep", "300"]
  }
}
