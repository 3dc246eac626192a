# run: succeeded
# rules: 3 s23
# kill
# b[linux,amd64]: succeeded
# b[linux,arm64]: succeeded
# b[darwin,amd64]: succeeded
# b[darwin,arm64]: succeeded
# log b[darwin,arm64]: darwin-arm64
pipeline "matrix" {
  workspace {
    exclude = ["**"]
  }
  module "b" {
    matrix  = { os = ["linux", "darwin"], arch = ["amd64", "arm64"] }
    command = ["echo", "${matrix.os}-${matrix.arch}"]
  }
}
