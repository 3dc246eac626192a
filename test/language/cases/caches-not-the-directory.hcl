# run: succeeded
# rules: s26
# a: succeeded
# log a: no cache
pipeline "caches_not_the_directory" {
  workspace {
    exclude = ["**"]
  }
  module "a" {
    script = <<-SH
      test -z "$${PIPELINED_CACHE-}" && echo "no cache"
    SH
  }
}
