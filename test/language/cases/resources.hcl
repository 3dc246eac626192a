# run: succeeded
# rules: s29
# small[32MiB]: succeeded
# small[64 MB]: succeeded
# unsaid: succeeded
pipeline "resources" {
  workspace {
    exclude = ["**"]
  }
  module "small" {
    matrix    = { size = ["32MiB", "64 MB"] }
    command   = ["true"]
    resources = { cpu = 0.1, memory = matrix.size }
  }
  module "unsaid" {
    command   = ["true"]
    resources = { cpu = 1 }
  }
}
