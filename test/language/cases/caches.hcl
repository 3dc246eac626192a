# run: succeeded
# rules: s26 7
# a: succeeded
# b: succeeded
# log b: go and npm
pipeline "caches" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    caches = ["go"]
    script = <<-SH
      test -d "$PIPELINED_CACHE/go"
      touch "$PIPELINED_CACHE/go/used"
    SH
  }
  module "b" {
    caches = ["go", "npm"]
    script = <<-SH
      cd "$PIPELINED_CACHE"
      test -d go && test -d npm && echo "go and npm"
    SH
  }
}
