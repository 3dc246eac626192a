# Run by child-itself.hcl.
pipeline "itself" {
  module "again" {
    pipeline = "itself.hcl"
  }
}
