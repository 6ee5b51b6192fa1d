"""What a drill leaves behind: events made into figures, verdicts, a page to read, and progress on a screen meanwhile.

The rooms:

    collect    events -> `Story`, a `Trial` for each contender
    measured   a trial -> the figures that bounds are about (pure)
    build      story -> report.json
    spans      a trial -> what its picture is drawn of (pure)
    pictures   a trial -> one SVG, which `svg` makes fit for a page
    excerpts   logs -> the lines around the steps
    page       report and pictures -> report.html
    summary    several reports -> index.json, index.html, summary.md
    screen     events -> a terminal
    conduct    starts the measuring side where the lab is, and does all of the above
"""
