from armoe_jax.evaluation.published import CAR_ROWS, published_row


def test_published_rows():
    row = published_row("Kodak24", qp=27, scale=1)
    assert (row.input_psnr_y, row.psnr_y, row.ssim_y) == (38.61, 39.56, 0.9603)
    assert published_row("set5", qp=None, scale=2).psnr_y == 38.19
    assert published_row("kodak24", qp=None, scale=1) is None
    assert published_row("kodak24", qp=27, scale=2) is None
    assert published_row("mine", qp=27, scale=1) is None
    # In every row the paper's network gains, and less at low quality.
    for name in ("kodak24", "mcmaster", "cbsd68"):
        rows = [CAR_ROWS[name, qp] for qp in (22, 27, 32, 37)]
        gains = [row.psnr_y - row.input_psnr_y for row in rows]
        assert gains == sorted(gains, reverse=True)
        assert min(gains) > 0
