std = "lua54"
max_line_length = 120
max_comment_line_length = 140
files["spec"] = { std = "lua54+busted" }
files["lua/types"] = { ignore = { "111", "112", "113", "131", "211", "212", "241" } }
exclude_files = { "build", "spec/fixtures/hostile" }
