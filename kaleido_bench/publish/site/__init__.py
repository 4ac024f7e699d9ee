"""The pages of a folder of results: one a protocol, one that lists them, one of what others published elsewhere.

`subjects` is what a page is about, `tables` how its numbers are cut and ordered, `published` the numbers of others,
`curves` the drawings, `words` what HTML and Markdown say alike, `pages`, `lists` and `markdown` the two forms, and
`folder` where they are written.
"""

from kaleido_bench.publish.site.building import build_site
from kaleido_bench.publish.site.folder import Written, write_site
from kaleido_bench.publish.site.subjects import Subjects, load_subjects

__all__ = ["Subjects", "Written", "build_site", "load_subjects", "write_site"]
